# SPDX-License-Identifier: MIT
"""torch: a small network trained with two threads inside an operation, data from worker processes, inference from
threads."""
from concurrent.futures import ThreadPoolExecutor

import torch
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(5)
torch.set_num_threads(2)
inputs = torch.randn(512, 16)
target = inputs[:, :4].sum(1, keepdim=True)
model = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
for _ in range(4):
    for part, wanted in DataLoader(TensorDataset(inputs, target), batch_size=64, num_workers=2):
        optimizer.zero_grad()
        loss = ((model(part) - wanted) ** 2).mean()
        loss.backward()
        optimizer.step()
print(round(float(loss), 3))


def infer(at):
    """One slice."""
    with torch.no_grad():
        return round(float(model(inputs[at:at + 64]).sum()), 2)


with ThreadPoolExecutor(4) as pool:
    print(list(pool.map(infer, range(0, 512, 64))))
