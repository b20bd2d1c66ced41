"""Networks on disk: safetensors, so that reading one runs nothing."""

from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from feature_repo.errors import LookbookError
from feature_repo.places import whole_file

Network = TypeVar("Network", bound=nn.Module)


class WeightsError(LookbookError):
    """A file of weights is not of this network; the text says what differs."""


def save_network(network: nn.Module, file: Path) -> None:
    """Write the network's weights; the same weights give the same bytes."""
    # Copies, for two names of one tensor are refused.
    tensors = {
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in network.state_dict().items()
    }
    with whole_file(file) as partial:
        save_file(tensors, partial)


def load_network(network: Network, file: Path) -> Network:
    """Put saved weights into a network that was made with the same settings; it ends in eval mode.

    Raises:
        WeightsError: the file is missing or damaged, or its tensors are not those of this network.
    """
    try:
        tensors = load_file(file)
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"{file.name} cannot be read as weights ({error}): train again."
        ) from error
    own = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    for name in sorted(own.keys() | found.keys()):
        if own.get(name) != found.get(name):
            raise WeightsError(
                f"{file.name} is not of this network: {name} is {_said(found.get(name))} in the file "
                f"and {_said(own.get(name))} in the network. Load it with the settings it was made with, "
                "or train again."
            )
    network.load_state_dict(tensors)
    return network.eval()


def _said(shape: tuple[int, ...] | None) -> str:
    if shape is None:
        return "missing"
    return " x ".join(map(str, shape)) or "a number"
