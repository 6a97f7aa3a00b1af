"""Dropout that leaves the global random state alone.

``torch.nn.Dropout`` draws from torch's global generator, which threads share: two fits at a time
would disturb each other and the caller. Here the masks come from a generator of the model's own.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = [
    "DEFAULT_GENERATOR",
    "BorrowsDraws",
    "Draw",
    "Dropout",
    "MaskTape",
    "draw_noise",
    "set_dropout_generator",
    "set_dropout_strength",
    "set_dropout_tape",
]


# Held by whoever seeds torch's default generator for a while.
DEFAULT_GENERATOR = threading.Lock()

Draw = Callable[["torch.Size | tuple[int, ...]", torch.Generator], Tensor]


def draw_noise(shape: torch.Size | tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw from [0, 1), in float32 so that a float64 fit drops the same elements."""
    return torch.rand(shape, generator=generator, device=generator.device, dtype=torch.float32)


class MaskTape:
    """Masks of a training step that are drawn before it.

    A compiled network, or one whose steps are replayed, draws nothing itself: one eager step is
    recorded, and from then on all masks of a step are drawn before it, in the order in which that
    step drew them. So the generator gives what it would have given.
    """

    def __init__(self) -> None:
        self.is_recording = self.is_playing = False
        self._recorded: list[tuple[Callable[[torch.Size], Tensor], torch.Size]] = []
        self._drawn: list[Tensor] = []
        self._places: list[Tensor] = []
        self._next = 0

    def take(self, make: Callable[[torch.Size], Tensor], shape: torch.Size) -> Tensor:
        """Return what ``make`` makes of a shape: now, or the next of what it made before."""
        if self.is_playing:
            drawn = self._drawn[self._next]
            self._next += 1
            return drawn
        if self.is_recording:
            self._recorded.append((make, shape))
        return make(shape)

    def begin_recording(self) -> None:
        """Keep what is drawn from now on, and forget what was."""
        self.is_recording = True
        self._recorded, self._places = [], []

    def draw(self) -> None:
        """Draw what the next step takes."""
        self._drawn = [make(shape) for make, shape in self._recorded]

    def draw_in_place(self) -> None:
        """Draw what the next step takes, into the same tensors each time."""
        if not self._places:
            self._places = [
                make(shape).expand(shape).clone(memory_format=torch.contiguous_format)
                for make, shape in self._recorded
            ]
        else:
            for place, (make, shape) in zip(self._places, self._recorded, strict=True):
                place.copy_(make(shape))
        self._drawn = self._places

    def rewind(self) -> None:
        """Begin a step."""
        self._next = 0


class Dropout(nn.Module):
    r"""Zero each element with probability p in training and scale the others up.

    .. math:: y = x \odot m / (1 - p), \qquad m \sim \mathrm{Bernoulli}(1 - p)

    Parameters
    ----------
    p : float, default=0.5
        Probability with which an element becomes zero, from 0 to 1. With 0, and in evaluation
        mode, the module returns its input itself.

    Attributes
    ----------
    generator : torch.Generator or None
        Source of the masks; see :func:`set_dropout_generator`. It is not part of the state dict.
    shared : bool
        Whether all rows of a batch share a mask. Then a row that comes twice is treated as one of
        weight two; many steps on a full batch see many masks.
    strength : float
        Factor of p, see :func:`set_dropout_strength`.

    Raises
    ------
    RuntimeError
        In training, where p > 0 and no generator was set.
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"p must be between 0 and 1, got {p!r}")
        self.p = p
        self.generator: torch.Generator | None = None
        self.shared = False
        self.strength = 1.0
        self.draw: Draw = draw_noise  # processes that share a batch draw for all of it
        self.tape: MaskTape | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return x with dropped elements.

        Shape: any -> the same.
        """
        if not self.training or self.p == 0.0:
            return x
        if self.tape is not None:
            mask = self.tape.take(self._mask, x.shape)
        elif self.p * self.strength == 0.0:
            return x
        else:
            mask = self._mask(x.shape)
        return x * mask.to(device=x.device, dtype=x.dtype)

    def _mask(self, shape: torch.Size) -> Tensor:
        """Return what elements are multiplied by, of a shape that broadcasts to that of x."""
        p = self.p * self.strength
        if self.generator is None:
            raise RuntimeError("Dropout has no generator: call set_dropout_generator first")
        if p in (0.0, 1.0):  # nothing is drawn
            return torch.full((1,) * len(shape), 1.0 - p, device=self.generator.device)
        wanted = (1, *shape[1:]) if self.shared else shape
        return self.draw(wanted, self.generator).ge_(p).div_(1.0 - p)

    def extra_repr(self) -> str:
        """Return what the representation shows of the module."""
        return f"p={self.p}"


def set_dropout_generator(
    module: nn.Module, generator: torch.Generator | None, *, shared: bool = False
) -> None:
    """Make every :class:`Dropout` of a module draw its masks from one generator.

    Parameters
    ----------
    module : nn.Module
        Module whose children, at any depth, are changed.
    generator : torch.Generator or None
        The generator, best on the device of the module (masks are moved otherwise); None takes
        the present one away.
    shared : bool, default=False
        Whether all rows of a batch share a mask.
    """
    for child in module.modules():
        if isinstance(child, Dropout):
            child.generator = generator
            child.shared = shared
        elif isinstance(child, BorrowsDraws):
            child.generator = generator


class BorrowsDraws(nn.Module):
    """Parent of a module that may draw from torch's default generator, as ``nn.Dropout`` does.

    Attributes
    ----------
    generator : torch.Generator or None
        Source of the seeds; see :func:`set_dropout_generator`. It is not part of the state dict.
    """

    def __init__(self) -> None:
        super().__init__()
        self.generator: torch.Generator | None = None
        self._draws: bool | None = None  # None: not known yet
        self._n_calls = 0

    @contextmanager
    def borrowed(self) -> Iterator[None]:
        """Let what draws from the default generator draw what the model's own says.

        The default generator is put back behind it, so that the caller's numbers stay theirs; a
        lock keeps threads that fit at the same time apart. Without a generator, in evaluation
        and in compiled code nothing changes.
        """
        is_idle = not self.training or self._draws is False or torch.compiler.is_compiling()
        if self.generator is None or is_idle:
            yield
            return
        device = self.generator.device
        if device.type == "cpu":
            # Read, not drawn: a module that draws nothing must leave the generator as it was.
            seed = zlib.crc32(self.generator.get_state().numpy().tobytes())
        else:  # to read a number of a device would wait for all that is under way there
            seed = self.generator.initial_seed() + self._n_calls
            self._n_calls += 1
        with DEFAULT_GENERATOR, torch.random.fork_rng([] if device.type == "cpu" else [device]):
            torch.default_generator.manual_seed(seed)
            if device.type == "cuda":
                torch.cuda.default_generators[device.index or 0].manual_seed(seed)
            asks = self._draws is None and device.type == "cpu"
            before = torch.default_generator.get_state() if asks else None
            yield
            if before is not None:
                self._draws = not torch.equal(before, torch.default_generator.get_state())
        if self._draws and device.type == "cpu":
            torch.randint(2, (), generator=self.generator)  # the next call reads another seed


def set_dropout_strength(module: nn.Module, strength: float) -> None:
    """Multiply the probability of every :class:`Dropout` of a module, for a schedule over epochs.

    Parameters
    ----------
    module : nn.Module
        Module whose children, at any depth, are changed.
    strength : float
        Factor from 0 to 1.
    """
    for child in module.modules():
        if isinstance(child, Dropout):
            child.strength = strength


def set_dropout_tape(module: nn.Module, tape: MaskTape | None) -> None:
    """Make every :class:`Dropout` of a module take its masks from a tape.

    Parameters
    ----------
    module : nn.Module
        Module whose children, at any depth, are changed.
    tape : MaskTape or None
        The tape; None lets each draw for itself.
    """
    for child in module.modules():
        if isinstance(child, Dropout):
            child.tape = tape
