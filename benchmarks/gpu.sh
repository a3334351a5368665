#!/usr/bin/env bash
# Tests, benchmarks and one training run on a GPU, each within its own minutes, with everything in one folder:
#
#   bash benchmarks/gpu.sh OUT [train.py arguments]
#
# TESTS, BENCH and TRAIN are the minutes of each part; 0 leaves it out. DEVICE=cpu rehearses it, and COMPILE=false leaves
# out torch.compile. The data set is $FACEKP_DATA. A folder .whl beside this checkout holds wheels of packages that the
# machine lacks. A run that begins with the weights of another needs init=. OUT then holds logs, results-cuda.json, the
# run's metrics, and its best checkpoint in parts of 15 MiB: `cat best.ckpt.* > best.ckpt` joins them.
set -uo pipefail
out=$(realpath -m "${1:?folder for the results}") && shift
cd "$(dirname "$0")/.."
mkdir -p "$out"
: "${TESTS:=2}" "${BENCH:=2}" "${TRAIN:=8}" "${DEVICE:=cuda}" "${COMPILE:=true}" "${FACEKP_DATA:?folder of the prepared data set}"
export FACEKP_DATA PYTHONUNBUFFERED=1
work=$(mktemp -d)

if compgen -G '.whl/*.whl' >/dev/null; then
    python3 -m pip install -q --no-index --no-deps --no-compile --upgrade --target "$HOME/site" .whl/*.whl
    export PYTHONPATH="$PWD:$HOME/site"
fi

part() { # part NAME MINUTES COMMAND...: run it within its time, keep its output, and go on whatever it returns
    local name=$1 minutes=$2 start=$SECONDS status=0
    shift 2
    if [ "$minutes" = 0 ]; then return; fi
    timeout -k 10 "$(awk "BEGIN {print 60 * $minutes}")" "$@" >"$out/$name.log" 2>&1 || status=$?
    echo "$name: exit status $status after $((SECONDS - start)) s" | tee -a "$out/parts.log"
    tail -n 5 "$out/$name.log"
}

part machine 1 python3 -c 'from facekp.hardware import describe_machine, list_versions
print(describe_machine(), list_versions())'
[ "$DEVICE" = cuda ] && marked=gpu || marked='gpu or not slow'
part tests "$TESTS" python3 -m pytest -q -x -m "$marked" -p no:cacheprovider tests/test_gpu.py tests/test_losses.py tests/test_precision.py
[ "$DEVICE" = cuda ] && quick=false || quick=true
part bench "$BENCH" python3 -m benchmarks "device=$DEVICE" only=gpu,loss "quick=$quick" "compile=$COMPILE" \
    "root=$FACEKP_DATA" "out=$out/results-$DEVICE.json"
if command -v nvidia-smi >/dev/null; then
    nvidia-smi --query-gpu=timestamp,utilization.gpu,memory.used,power.draw --format=csv -l 2 >"$out/nvidia-smi.csv" &
    trap 'kill %1' EXIT
fi
# The limit covers the training steps; starting and the last validation come on top.
part train "$(awk "BEGIN {print $TRAIN ? $TRAIN + 1.5 : 0}")" python3 train.py logger=csv callbacks.progress=false \
    "trainer.max_time=$TRAIN" "hydra.run.dir=$work/run" "$@"
if [ -f "$work/run/checkpoints/best.ckpt" ]; then
    cp "$work"/run/metrics.* "$out/"
    split -b 15M "$work/run/checkpoints/best.ckpt" "$out/best.ckpt."
fi
rm -rf "$work"
