#!/usr/bin/env bash
# Train on the GPUs of one or several machines with torchrun. Takes arguments of mgc fit:
#
#   DEVICES=8 scripts/launch/torchrun.sh --config configs/vgg_tagging.yaml --data.root data/msd
#
# To resume a run, use its RUN_ID again. On several machines, start it in a shared folder, with the
# same RUN_ID, RENDEZVOUS (host:port of one machine) and NODES (number of machines) on each.
#
# torchrun forwards signals to all processes and waits 30 seconds for them to write last.ckpt.
set -euo pipefail

devices=${DEVICES:-$(nvidia-smi --list-gpus | wc -l)}
nodes=${NODES:-1}
run_id=${RUN_ID:-$(date +%Y%m%d-%H%M%S)}

if [ "$nodes" -gt 1 ]; then
    launcher=(--nnodes="$nodes" --rdzv-backend=c10d --rdzv-id="$run_id" --rdzv-endpoint="$RENDEZVOUS")
else
    launcher=(--standalone)
fi

last=runs/mgc/$run_id/checkpoints/last.ckpt
if [ -f "$last" ]; then
    set -- "$@" --ckpt_path="$last"
fi

exec torchrun "${launcher[@]}" --nproc-per-node="$devices" -m mgc fit \
    --trainer.num_nodes="$nodes" --trainer.devices="$devices" --trainer.strategy=ddp \
    --trainer.logger.version="$run_id" "$@"
