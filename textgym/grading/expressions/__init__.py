"""Mathematical answers as trees: read from text, evaluated within bounds, compared.

From text to verdict, one file a step:

    cleaning.py   one notation for what LaTeX, plain text and Unicode write in many
    tokens.py     text -> tokens
    tree.py       the nodes of an answer's tree
    reading.py    a text as an answer, in each way that it may be meant
    parser.py     tokens -> tree, by a bounded grammar; nothing is evaluated
    atoms.py      its part for one number, name, bracket or command
    fields.py     the value of a tree: exact, modulo a prime, in 50 digits
    functions.py  sines and logarithms in 50 digits
    rewriting.py  copies of trees with ± and log written out
    scalars.py    whether two expressions are equal
    units.py      centimetres and dollars
    sets.py       intervals and inequalities as sets of real numbers
    relations.py  equations and inequalities
    measures.py   percentages, angles, quantities with units
    compare.py    whether two answers of any shape are equal
"""
