"""Reads the frames of the protocol, knowing docs/WIRE.md and nothing else.

The tables of the page are the reader's only knowledge of fields, numbers and
bounds: what the page does not say, this reader cannot read. So a table that is
wrong or too short is noticed by a reader that shares no code with the agent.

    python3 tests/reader/wire.py docs/WIRE.md tests/vectors/wire.json

Needs Python 3.9 and `cryptography`.
"""

import json
import re
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class Refused(Exception):
    """The frame is refused, for this reason."""


class Page:
    """The tables of the page: frames, structs and enums, by name."""

    def __init__(self, text):
        self.frames, self.structs, self.enums, self.newtypes = {}, {}, {}, {}
        name = None
        for line in text.splitlines():
            heading = re.match(r"### (\w+)$", line)
            if heading:
                name = heading[1]
            elif line.startswith("## "):
                name = None
            written = re.search(r"Written as: (.+)\.$", line)
            if name and written:
                self.newtypes[name] = written[1]
            cells = [c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]]
            if len(cells) == 5 and cells[1].endswith("0x00"):
                frame = re.match(r"\[(\w+)\]", cells[0])[1]
                opening = re.match(r"`(.+)` 0x00", cells[1])[1].encode() + b"\0"
                self.frames[frame] = (opening, int(cells[2]), cells[3] != "none")
            elif name and len(cells) == 4:
                self.row(name, cells)

    def row(self, name, cells):
        variant = re.match(r"\*\*(\d+) `(\w+)`\*\*", cells[0])
        number = re.match(r"\d+$", cells[0])
        field = re.match(r"`(\w+)`$", cells[0])
        if variant or number:
            word = variant[2] if variant else cells[1].strip("`")
            known = self.enums.setdefault(name, [])
            assert len(known) == int(variant[1] if variant else cells[0]), (name, cells)
            known.append((word, []))
        elif field and name in self.enums:
            self.enums[name][-1][1].append((field[1], cells[1]))
        elif field:
            self.structs.setdefault(name, []).append((field[1], cells[1]))


class Reader:
    """Reads a body, from its first byte to its last."""

    WIDTHS = {"u16": 16, "u32": 32, "u64": 64}

    def __init__(self, page, data):
        self.page, self.data, self.at = page, data, 0

    def take(self, n):
        if self.at + n > len(self.data):
            raise Refused("malformed")
        self.at += n
        return self.data[self.at - n : self.at]

    def varint(self, bits):
        value, shift = 0, 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                break
        if (byte == 0 and shift > 7) or value >> bits:
            raise Refused("malformed")
        return value

    def block(self):
        return self.take(self.varint(32))

    def value(self, written):
        """A value, from the words that the page has for how it is written."""
        if written.startswith("option: "):
            first = self.take(1)[0]
            if first > 1:
                raise Refused("malformed")
            return self.value(written[len("option: ") :]) if first else None
        if ", then " in written:
            return [self.value(part) for part in written.split(", then ")]
        written = re.sub(r" \(\w+\)$", "", written)
        if written == "byte":
            return self.take(1)[0]
        if written == "boolean":
            byte = self.take(1)[0]
            if byte > 1:
                raise Refused("malformed")
            return byte == 1
        if written == "device id":
            text = self.block()
            if not 1 <= len(text) <= 32 or any(not 0x21 <= b <= 0x7E for b in text):
                raise Refused("malformed")
            return text.decode()
        exact = re.match(r"(\d+) bytes$", written)
        if exact:
            return self.take(int(exact[1])).hex()
        varint = re.match(r"varint (u\d+)$", written)
        if varint:
            return self.varint(self.WIDTHS[varint[1]])
        if written.startswith("block"):
            return self.block().hex()
        text = re.match(r"text, at most (\d+)$", written)
        if text:
            found = self.block()
            if len(found) > int(text[1]):
                raise Refused("malformed")
            try:
                return found.decode()
            except UnicodeDecodeError:
                raise Refused("malformed") from None
        link = re.match(r"\[(\w+)\]\(#\w+\)$", written)
        assert link, f"the page says {written!r}, and not what that is"
        return self.named(link[1])

    def fields(self, fields):
        return {name: self.value(written) for name, written in fields}

    def named(self, name):
        if name in self.page.newtypes:
            return self.value(self.page.newtypes[name])
        if name in self.page.structs:
            return self.fields(self.page.structs[name])
        variants = self.page.enums[name]
        number = self.take(1)[0]
        if number >= len(variants):
            raise Refused("malformed")
        word, fields = variants[number]
        if not fields:
            return word
        value = self.fields(fields)
        return {word: value["0"] if list(value) == ["0"] else value}


def read(page, name, data, key):
    """Reads a frame in the order of the page; a record has no frame."""
    if name not in page.frames:
        body = data
    else:
        opening, longest, signed = page.frames[name]
        if len(data) > longest:
            raise Refused("too long")
        if not data.startswith(opening):
            raise Refused("wrong type")
        body = data[len(opening) :]
        if signed:
            if len(data) < 64:
                raise Refused("wrong type")
            try:
                key.verify(data[-64:], data[:-64])
            except InvalidSignature:
                raise Refused("bad signature") from None
            body = body[:-64]
    reader = Reader(page, body)
    value = reader.named(name)
    if reader.at != len(body):
        raise Refused("malformed")
    return value


def main(page_path, vectors_path):
    with open(page_path, encoding="utf-8") as page_file:
        page = Page(page_file.read())
    with open(vectors_path, encoding="utf-8") as vectors_file:
        vectors = json.load(vectors_file)
    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(vectors["public_key"]))
    faults = 0
    for v in vectors["accepted"]:
        try:
            value = read(page, v["type"], bytes.fromhex(v["bytes"]), key)
        except Refused as why:
            value = f"refused: {why}"
        if value != v["value"]:
            faults += 1
            print(f"{v['name']}: read {value}\n  and it is {v['value']}")
    for v in vectors["refused"]:
        try:
            read(page, v["type"], bytes.fromhex(v["bytes"]), key)
            said = "taken"
        except Refused as why:
            said = str(why)
        if said != v["reason"]:
            faults += 1
            print(f"{v['type']}, {v['name']}: {said}, and it is {v['reason']}")
    print(f"{len(vectors['accepted'])} read, {len(vectors['refused'])} refused, {faults} wrong")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
