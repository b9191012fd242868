#!/usr/bin/env bash
# Fit on the GPUs of one machine or several with torchrun. Arguments are those of mgc fit:
#
#   DEVICES=8 scripts/launch/torchrun.sh --config configs/vgg_tagging.yaml --data.root data/msd
#
# Started again with the same RUN_ID, it goes on from the run's last checkpoint. On several machines
# give each the same RUN_ID and RENDEZVOUS (host:port of one of them) and NODES, their number; they
# share the folder that it is started in.
#
# A signal to torchrun reaches every process; torchrun waits 30 seconds for them to write last.ckpt.
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
