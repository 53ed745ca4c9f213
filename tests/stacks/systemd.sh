#!/usr/bin/env bash
# Runs systemd as the init process of namespaces of its own, over a copy of / whose changes are discarded:
#
#     unshare --mount --pid --fork --kill-child --ipc --uts --net --cgroup bash systemd.sh DIRECTORY PYTHON PACKAGES CHECKOUT
#
# Copies DIRECTORY/etc to /etc. DIRECTORY/result is at /result, the Python installation PYTHON at /opt/python, its PACKAGES at
# /opt/packages and CHECKOUT at /opt/asciist. systemd exits when probe.service ends. It cannot change settings of the kernel.
set -euo pipefail
directory=$1
python=$2
packages=$3
checkout=$4

layers=$directory/layers
mkdir "$layers"
mount -t tmpfs tmpfs "$layers"
mkdir "$layers"/{upper,work,root}
mount -t overlay -o "lowerdir=/,upperdir=$layers/upper,workdir=$layers/work" overlay "$layers/root"
cd "$layers/root"
cp -a "$directory/etc/." etc
echo 'asciist:x:990:' >>etc/group
echo 'asciist:x:990:990::/opt/asciist:/usr/sbin/nologin' >>etc/passwd
mkdir -p opt/python opt/packages opt/asciist result var/log/asciist old
mount --bind "$python" opt/python
mount --bind "$packages" opt/packages
mount --bind "$checkout" opt/asciist
mount --bind "$directory/result" result

mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs -o dev tmpfs dev
mkdir dev/shm dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
for device in null zero full random urandom tty; do
  touch "dev/$device"
  mount --bind "/dev/$device" "dev/$device"
done
ln -s /proc/self/fd dev/fd
ln -s null dev/console
ln -s pts/ptmx dev/ptmx

pivot_root . old
umount --lazy /old
exec env --ignore-environment container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin \
  /lib/systemd/systemd --unit=probe.service --log-target=null --show-status=no
