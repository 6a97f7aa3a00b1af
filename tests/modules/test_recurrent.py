"""Tests of GRU and LSTM encoders, against loops in numpy and torch's packed sequences."""

import numpy as np
import pytest
import torch
from conformance import EncoderConformance, apply_linear, apply_norm, array, one_hot, seeded
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from sklearn_mmfusion.modules import recurrent
from sklearn_mmfusion.modules.dropout import set_dropout_generator
from sklearn_mmfusion.modules.recurrent import RecurrentModule


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def run_cell(layer, x):
    """Return the states of all steps: (T, d) -> (T, h)."""
    w_in, w_state = array(layer.weight_ih_l0), array(layer.weight_hh_l0)
    b_in, b_state = array(layer.bias_ih_l0), array(layer.bias_hh_l0)
    state = cell = np.zeros(layer.hidden_size)
    states = []
    for step in x:
        from_input, from_state = w_in @ step + b_in, w_state @ state + b_state
        if isinstance(layer, nn.GRU):
            r1, z1, n1 = np.split(from_input, 3)
            r2, z2, n2 = np.split(from_state, 3)
            reset, update = sigmoid(r1 + r2), sigmoid(z1 + z2)
            state = (1 - update) * np.tanh(n1 + reset * n2) + update * state
        else:
            i, f, g, o = np.split(from_input + from_state, 4)
            cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
            state = sigmoid(o) * np.tanh(cell)
        states.append(state)
    return np.array(states)


def oracle(module, x):
    for i, ahead in enumerate(module.forward_layers):
        states = [run_cell(ahead, x)]
        if module.backward_layers:
            states.append(run_cell(module.backward_layers[i], x[::-1])[::-1])
        final = [states[0][-1], *(back[0] for back in states[1:])]
        x = np.concatenate(states, 1)
    encoded = np.concatenate(final)
    return encoded if isinstance(module.head, nn.Identity) else apply_linear(module.head, encoded)


class TestGRU(EncoderConformance):
    shape = (5, 3)
    is_sequence = True

    def make(self):
        return RecurrentModule(3, 4)

    def oracle(self, module, row):
        return oracle(module, row)


class TestGRUWithAll(TestGRU):
    def make(self):
        return RecurrentModule(3, 2, n_layers=2, bidirectional=True, batch_norm=True, output_dim=3)

    def oracle(self, module, row):
        return oracle(module, apply_norm(module.norm, row))


class TestLSTM(TestGRU):
    def make(self):
        return RecurrentModule(3, 3, cell="lstm", bidirectional=True)


class TestGRUOfOneHotCodes(TestGRU):
    shape = (5,)
    vocabulary_size = 4

    def make(self):
        return RecurrentModule(1, 3, vocabulary_size=4, batch_norm=True)

    def oracle(self, module, row):
        return oracle(module, one_hot(row, 4))


class TestGRUOfEmbeddedCodes(TestGRUOfOneHotCodes):
    def make(self):
        return RecurrentModule(1, 3, vocabulary_size=4, embedding_dim=2)

    def oracle(self, module, row):
        return oracle(module, array(module.input.embedding.weight)[row])


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(("cell", "reference"), [("gru", nn.GRU), ("lstm", nn.LSTM)])
def test_recurrent_equals_packed_sequences(cell, reference, bidirectional):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8, 11, 3, generator=generator, dtype=torch.float64)
    lengths = torch.tensor([11, 1, 5, 7, 2, 11, 3, 9])
    packed = seeded(reference, 3, 4, 2, batch_first=True, bidirectional=bidirectional).double()
    module = seeded(
        RecurrentModule, 3, 4, cell=cell, n_layers=2, bidirectional=bidirectional
    ).double()
    for name, parameter in packed.named_parameters():
        kind, _, layer = name.removesuffix("_reverse").rpartition("_l")
        layers = module.backward_layers if name.endswith("_reverse") else module.forward_layers
        layers[int(layer)].load_state_dict(
            {**layers[int(layer)].state_dict(), f"{kind}_l0": parameter.detach()}
        )
    state = packed(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))[1]
    state = state[0] if cell == "lstm" else state
    expected = torch.cat([state[-2], state[-1]], 1) if bidirectional else state[-1]
    torch.testing.assert_close(module(x, lengths), expected, rtol=1e-10, atol=1e-12)


def test_recurrent_batch_norm_equals_standardised_valid_steps():
    generator = torch.Generator().manual_seed(0)
    x = 3 + 2 * torch.randn(6, 5, 3, generator=generator, dtype=torch.float64)
    lengths = torch.tensor([5, 2, 1, 4, 3, 5])
    module = seeded(RecurrentModule, 3, 4, batch_norm=True).double()
    valid = torch.cat([row[:n] for row, n in zip(x, lengths, strict=True)])
    scaled = (x - valid.mean(0)) / (valid.var(0, correction=0) + 1e-5).sqrt()
    plain = seeded(RecurrentModule, 3, 4).double()
    plain.load_state_dict(module.state_dict(), strict=False)
    torch.testing.assert_close(module(x, lengths), plain(scaled, lengths))


def test_recurrent_lengths_of_codes_come_from_trailing_negatives():
    module = seeded(RecurrentModule, 1, 3, vocabulary_size=4, bidirectional=True).double()
    codes = torch.tensor([[0, 1, -1, -1], [2, -1, 3, -1], [1, 2, 3, 0]])
    encoded = module(codes)
    for row, n in enumerate([2, 3, 4]):
        torch.testing.assert_close(module(codes[row : row + 1, :n])[0], encoded[row])


def test_recurrent_unknown_code_is_a_step_of_zeros():
    for embedding_dim in (None, 2):
        module = seeded(RecurrentModule, 1, 3, vocabulary_size=4, embedding_dim=embedding_dim)
        x, _ = module.input(torch.tensor([[1, 4, 2], [0, -1, 3]]))
        assert not x[0, 1].any()
        assert not x[1, 1].any()
        assert x[0, 2].any()


def test_recurrent_dropout_acts_on_the_state_of_one_layer():
    module = seeded(RecurrentModule, 3, 50, dropout=0.5)
    set_dropout_generator(module, torch.Generator().manual_seed(0))
    assert (module(torch.ones(4, 5, 3)) == 0).double().mean() > 0.2


@pytest.mark.parametrize("n", [11, 12, 13, 17])
def test_recurrent_reads_many_rows_in_pieces_without_gradients(monkeypatch, n):
    module = seeded(lambda: RecurrentModule(3, 4, bidirectional=True, batch_norm=True)).double()
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(n, 5, 3)))
    lengths = torch.arange(n) % 5 + 1
    whole = module.eval()(x, lengths).detach()
    monkeypatch.setattr(recurrent, "_PIECE_ROWS", 6)
    sizes = []
    handle = module.forward_layers[0].register_forward_hook(
        lambda layer, args, result: sizes.append(len(args[0]))
    )
    with torch.no_grad():
        np.testing.assert_allclose(module(x, lengths), whole, rtol=1e-14)
    assert sizes == {11: [11], 12: [6, 6], 13: [6, 7], 17: [6, 11]}[n]
    sizes.clear()
    module(x, lengths)
    assert sizes == [n]
    handle.remove()
