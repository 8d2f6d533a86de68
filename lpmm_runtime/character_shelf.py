# SPDX-License-Identifier: GPL-3.0-or-later
"""The server's characters: the last used ones prepared, the others as what it takes to prepare them again."""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lpmm_runtime.engine import Character, Engine
from lpmm_runtime.errors import LpmmError, PhotoError
from lpmm_runtime.portrait import read_image
from lpmm_runtime.protocol import Box, RuntimeRequestError

# The client's conversation, and its name for the character.
Key = tuple[Hashable, str]


@dataclass(frozen=True)
class _Recipe:
    photo: Path
    box: Box | None
    params: np.ndarray | None
    failure: LpmmError | None


class CharacterShelf:
    """Characters by key; at most `limit` of them are held prepared. Not thread-safe: the worker's own.

    Args:
        engine: prepares them.
        limit: at least 1. A prepared character holds its photo and features: tens of megabytes for a large one.
    """

    def __init__(self, engine: Engine, limit: int) -> None:
        self._engine = engine
        self._limit = limit
        self._recipes: dict[Key, _Recipe] = {}
        self._prepared: OrderedDict[Key, Character] = OrderedDict()

    def create(self, key: Key, photo: Path, box: Box | None) -> Character:
        """Prepare a portrait under `key`, in the place of what was there.

        Raises:
            LpmmError: as `read_image` and `Engine.create_character`; `get` then repeats it.
        """
        self.drop(key)
        try:
            character = self._prepare(photo, box)
        except LpmmError as error:
            self._recipes[key] = _Recipe(photo, box, None, error)
            raise
        self._recipes[key] = _Recipe(photo, box, character.params, None)
        self._hold(key, character)
        return character

    def get(self, key: Key) -> Character:
        """Return the character under `key`, prepared anew if it had to make room.

        Raises:
            RuntimeRequestError: "unknown_character".
            LpmmError: why it could not be prepared.
        """
        recipe = self._recipes.get(key)
        if recipe is None:
            raise RuntimeRequestError("unknown_character", f"there is no character {key[1]}")
        if recipe.failure is not None:
            raise recipe.failure.with_traceback(None)
        character = self._prepared.get(key)
        if character is None:
            character = self._prepare(recipe.photo, recipe.box)
            # The sliders stand for differences from these params: another picture would jump unnoticed.
            if recipe.params is None or not np.array_equal(character.params, recipe.params):
                raise PhotoError(f"{recipe.photo}: another picture than when the character was made")
        self._hold(key, character)
        return character

    def drop(self, key: Key) -> None:
        """Forget a character; an unknown key is ignored."""
        self._recipes.pop(key, None)
        self._prepared.pop(key, None)

    def drop_owner(self, owner: Hashable) -> None:
        """Forget every character whose key begins with `owner`."""
        for key in [key for key in self._recipes if key[0] == owner]:
            self.drop(key)

    def _prepare(self, photo: Path, box: Box | None) -> Character:
        return self._engine.create_character(read_image(photo), box, name=str(photo))

    def _hold(self, key: Key, character: Character) -> None:
        self._prepared[key] = character
        self._prepared.move_to_end(key)
        while len(self._prepared) > self._limit:
            self._prepared.popitem(last=False)
