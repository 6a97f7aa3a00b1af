"""Changes of a file at random, for the tests and for ``benchmarks/reliability_files.py``."""

import copy

VALUES = [
    *(None, True, False, 0, 1, -1, 2, 7, 10**9, 10**18, -(10**9), 0.5, 1e308, "", "a", "__class__"),
    *(
        [],
        {},
        [[]],
        {"tuple": []},
        {"float": "nan"},
        {"float": "inf"},
        {"array": "x"},
        {"object": "MLPEncoder", "content": {}},
    ),
    *({"trusted": "os.system"}, {"slice": [0, 1, None]}, {"text": "x", "lengths": "y"}),
]


def _places(node, path=()):
    if path:
        yield path
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, item in items:
        if isinstance(item, (dict, list)):
            yield from _places(item, (*path, key))
        else:
            yield (*path, key)


def _at(node, path):
    for key in path:
        node = node[key]
    return node


def edit(document, generator):
    """Change one value of a document, whatever it is."""
    places = list(_places(document))
    place = generator.choice(places)
    parent, key = _at(document, place[:-1]), place[-1]
    kind = generator.randrange(5)
    if kind == 0:
        del parent[key]
    elif kind == 1 and isinstance(parent, dict):
        parent[generator.choice(["x", "__class__", "n_layers"])] = parent.pop(key)
    elif kind == 2:
        parent[key] = copy.deepcopy(_at(document, generator.choice(places)))
    elif isinstance(parent[key], int) and kind == 3:
        parent[key] += generator.choice([-1, 1, 1000])
    else:
        parent[key] = generator.choice(VALUES)


def mutated(content, generator):
    """Return bytes with one to four changes, half of them near the beginning."""
    content = bytearray(content)
    for _ in range(generator.choice([1, 1, 2, 4])):
        place = generator.randrange(len(content))
        if generator.random() < 0.5:
            place = generator.randrange(min(len(content), 4000))
        kind = generator.randrange(5)
        if kind == 0:
            content[place] ^= 1 << generator.randrange(8)
        elif kind == 1:
            del content[place : place + generator.randrange(1, 200)]
        elif kind == 2:
            content[place:place] = generator.randbytes(generator.randrange(1, 20))
        elif kind == 3:
            other = generator.randrange(len(content))
            content[place : place + 50] = content[other : other + 50]
        else:
            content[place : place + 1] = generator.choice([b'"', b"{", b"[", b"}", b"9", b"\\"])
    return bytes(content)
