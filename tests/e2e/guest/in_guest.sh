#!/bin/sh
# Runs inside the guest, as root. A clip is fed into one v4l2loopback device: the webcam. icface-live reads it and
# writes to the other: the virtual camera, which v4l2-ctl reads as any program would. Then the webcam hangs and goes
# on; benchmarks/latency.py takes its place; it goes away and comes back as another device, and that one is unplugged
# for good.
#
# in_guest.sh SHARE PYTHON RETRY_S: SHARE is a folder of the host that holds clip.bin, source.jpg, edge.icface and two poses,
# and takes the results.
share=$1
python=$2
retry_s=$3
repository=$(cd "$(dirname "$0")/../../.." && pwd)

say() { echo "$(cut -d ' ' -f 1 /proc/uptime) $*" >> "$share/guest.log"; }

# said TEXT: how often icface-live has said TEXT.
said() { grep -c -- "$1" "$share/live.log"; }

# wait_beyond COUNT TEXT: until icface-live has said TEXT more often than COUNT, or has ended.
wait_beyond() {
    while [ "$(said "$2")" -le "$1" ]; do
        kill -0 "$live" 2> /dev/null || { say "icface-live ended before it said: $2"; return; }
        sleep 1
    done
    say "icface-live said: $2"
}

# record NAME COUNT: frames of the virtual camera, raw as they come, by a program that knows nothing of ours.
record() {
    timeout 90 v4l2-ctl --device /dev/video1 --stream-mmap --stream-count "$2" --stream-to "$share/$1.yuv" \
        > /dev/null 2>> "$share/reader.log"
    say "recorded: $1"
}

# record_moving NAME COUNT: the same, once the driver moves the picture: first and last frame differ.
record_moving() {
    for attempt in $(seq 60); do
        record "$1" "$2"
        head -c 98304 "$share/$1.yuv" > /run/first
        tail -c 98304 "$share/$1.yuv" > /run/last
        cmp -s /run/first /run/last || return
        sleep 1
    done
}

# latency NAME FLAG...: benchmarks/latency.py at a pace that an emulated machine can follow.
latency() {
    name=$1
    shift
    in_host -m benchmarks.latency --poses "$share/pose0.png" "$share/pose1.png" --fps 10 --json "$share/$name.json" \
        "$@" > "$share/$name.txt" 2>&1
}

# The guest's root is read page by page, uncached. The same files are mounted once more, cached, for Python, which
# starts three times faster from there.
host=/run/host
mkdir $host
mount -t 9p -o trans=virtio,version=9p2000.L,cache=loose,msize=1048576,ro host $host || exit 1
for folder in dev proc sys; do mount --rbind /$folder $host/$folder; done
mount --bind "$share" "$host$share"
in_host() { exec chroot $host "$python" "$@"; }

modprobe v4l2loopback devices=4 video_nr=0,1,2,3 exclusive_caps=0,1,0,1 card_label=webcam,virtual,webcam2,virtual2 \
    || exit 1
ln -s /dev/video0 /dev/webcam
in_host -S -E "$repository/tests/e2e/guest/feed.py" "$share/clip.bin" /dev/video0 10 2> "$share/feed.log" &
feeder=$!
say "the webcam runs"

# A bundle without a network: emulated, that takes seconds a frame, and the scheduler would turn it off and on.
in_host -m realtime.cli --source "$share/source.jpg" --camera /dev/webcam --virtual-camera /dev/video1 \
    --camera-size 320x240 --camera-fps 10 --camera-retry-s "$retry_s" --size 256 --model "$share/edge.icface" \
    --stats "$share/stats.json" \
    > "$share/table.txt" 2> "$share/live.log" &
live=$!
# On a pair of its own, while icface-live starts.
latency floor --legs floor --in /dev/video2 --out /dev/video3 --steps 2 --hold-s 1 --warm-s 1 &
floor=$!
wait_beyond 0 "output: virtual camera"
wait $floor
say "latency of the devices alone: $?"
# That device was written to, and let go of, twice: an icface-live that is started again finds it.
(in_host "$repository/tests/e2e/guest/again.py" /dev/video3 > "$share/again.txt" 2>&1)
v4l2-ctl --device /dev/video1 --info --get-fmt-video > "$share/device.txt" 2>&1
record_moving tracking 40

lost=$(said "trying again")
back=$(said "camera is back")
kill -STOP $feeder
say "the webcam hangs"
wait_beyond "$lost" "trying again"
record stalled 20
kill -CONT $feeder
say "the webcam goes on"
wait_beyond "$back" "camera is back"
record_moving back 30

latency latency --attach --in /dev/video0 --out /dev/video1 --steps 2 --hold-s 8 --warm-s 3 &
latency=$!
# It feeds the same device once it has started: nearly no picture is missing between the two.
until ls -l /proc/$latency/fd | grep -q video0; do
    kill -0 $latency || break
    sleep 0.2
done 2> /dev/null
kill $feeder
wait $latency
say "latency of icface-live: $?"

back=$(said "camera is back")
say "the webcam is gone"
modprobe vivid n_devs=1 node_types=0x1 num_inputs=1 input_types=0x0 vid_cap_nr=4
ln -sf /dev/video4 /dev/webcam
say "the webcam is another device"
wait_beyond "$back" "camera is back"
lost=$(said "trying again")
echo vivid.0 > /sys/bus/platform/drivers/vivid/unbind
say "the webcam is unplugged"
wait_beyond "$lost" "trying again"
record unplugged 4
wait $live
echo $? > "$share/exit_code.txt"
say "icface-live ended"
