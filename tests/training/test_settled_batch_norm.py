# SPDX-License-Identifier: GPL-3.0-or-later
"""Folded batch norms are given statistics without a change to what the network answers."""

import torch
from torch import nn

from training.settled_batch_norm import settle


def network() -> nn.Sequential:
    torch.manual_seed(3)
    made = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 6, 3, bias=False),
        nn.BatchNorm2d(6),
        nn.Flatten(),
        nn.Linear(6 * 16, 5),
        nn.BatchNorm1d(5),
    )
    for norm in made:
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(norm.bias)
            nn.init.normal_(norm.weight, 4.0, 0.5)
    return made


def test_a_settled_network_answers_in_training_as_it_did_before() -> None:
    net = network().eval()
    batches = list(torch.randn(4, 64, 3, 8, 8))
    whole = torch.cat(batches)
    with torch.no_grad():
        before = net(whole)
        unsettled = net.train()(whole)
        net.load_state_dict(network().state_dict())
        settle(net, net, batches)
        torch.testing.assert_close(net.eval()(whole), before, atol=1e-3, rtol=1e-3)
        # A batch's own statistics now say what the running ones do.
        torch.testing.assert_close(net.train()(whole), before, atol=0.02, rtol=0.02)
    assert (unsettled - before).abs().max() > 1.0


def test_a_part_that_is_not_run_stays_as_it_is() -> None:
    net = network()
    state = {name: value.clone() for name, value in net.state_dict().items()}
    first = nn.Sequential(*net[:3])
    settle(net, first, [torch.randn(2, 3, 8, 8)])
    for name, value in net.state_dict().items():
        if not name.startswith("1."):
            assert torch.equal(value, state[name]), name
