"""For libraries whose own interfaces differ from Gymnasium's: import the one you need by its name.

Each module imports its library; `import textgym` loads none of them.
"""
