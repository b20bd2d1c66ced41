"""Neural networks: one loop, one encoder, and the parts that every model is made of.

A network here is one short file: a module, a loss of one batch, and examples.

    from pipelines.neural.encoding import FeatureEncoder
    from pipelines.neural.layers import MLP, FeatureEmbedding
    from pipelines.neural.losses import binary_cross_entropy
    from pipelines.neural.training import seeded, train
    from pipelines.neural.weights import load_network, save_network

    class Chance(nn.Module):
        def __init__(self, spec, width=8):
            super().__init__()
            self.features = FeatureEmbedding(spec, width)
            self.top = MLP(self.features.size, 64, 1)

        def forward(self, batch):                             # encoded rows -> B
            return self.top(self.features(batch)).squeeze(1)

    def loss(network, batch):                                 # -> a scalar
        return binary_cross_entropy(network(batch), batch["label"], kept=0.1)

    encoder = FeatureEncoder().fit(rows)                      # columns view__feature
    with seeded(7):
        network = Chance(encoder.spec)
    train(network, loss, examples, checkpoint=file, progress=say)
    encoder.save(folder / "encoder.json")
    save_network(network, folder / "network.safetensors")
    scores = network(encoder.encode(candidates))              # B

Where the pieces are:

- `training`: `train` (GPU or CPU, `torchrun`, checkpoints, progress), `TrainingSettings`, `Examples`: any
  class with `__len__` and `batch(rows, generator)` that makes a batch when it is needed (decodes pictures,
  draws negatives), `mean_loss` for a validation, `seeded` for making networks, `is_main`, `wait_for_all`.
- `encoding`: `FeatureEncoder` and its `spec`, `padded` for sequences, `hashed` for ids, `under` and `part` for
  two encoded things in one batch.
- `layers`: `MLP`, `HashedEmbedding`, `BucketEmbedding`, `pooled`, `AttentionPooling`, `FeatureEmbedding`.
- `losses`: softmax over sampled negatives with log q, binary cross entropy after down-sampling, softmax over
  a customer's candidates, variational autoencoder.
- `weights`: `save_network`, `load_network`.

Importing this package imports nothing; its modules import torch, which takes a second or more.
"""
