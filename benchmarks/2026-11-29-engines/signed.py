"""oneDNN's product of rows of signed and of unsigned 8-bit integers, 400 x 768 by 768 x 768, on one thread.

    OMP_NUM_THREADS=1 python benchmarks/2026-11-29-engines/signed.py | tee benchmarks/2026-11-29-engines/signed.log

CPU time, as the machine has other work; the signed one once per round, the unsigned one a hundred times.
"""

import time

import torch

ROWS, WIDTH, ROUNDS, TIMES = 400, 768, 3, 100


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    weight_OI = torch.randint(-127, 128, (WIDTH, WIDTH), dtype=torch.int8)
    packed = torch.ops.onednn.qlinear_prepack(weight_OI, None)
    scale_O, zero_O = torch.ones(WIDTH), torch.zeros(WIDTH, dtype=torch.int32)

    def milliseconds(dtype: torch.dtype, times: int) -> float:
        row_TI = torch.randint(0, 128, (ROWS, WIDTH)).to(dtype)
        started = time.process_time()
        for _ in range(times):
            torch.ops.onednn.qlinear_pointwise(
                row_TI, 1.0, 0, packed, scale_O, zero_O, None, 1.0, 0, torch.float32, "none", [], ""
            )
        return 1000 * (time.process_time() - started) / times

    milliseconds(torch.uint8, TIMES)
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}")
    for _ in range(ROUNDS):
        signed, unsigned = milliseconds(torch.int8, 1), milliseconds(torch.uint8, TIMES)
        print(f"signed {signed:,.0f} ms of CPU, unsigned {unsigned:.2f}, {signed / unsigned:,.0f} times as long")


if __name__ == "__main__":
    main()
