# Makes root.tar in the directory that is the first argument, with the Python that is the second (for pip).
# Packages are unpacked, not installed: nothing of them runs on this machine.
cd "$1"
python=$2
mkdir debs root wheels
cd debs
closure() {
    apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances "$@" |
        grep '^[a-z0-9]' | sort -u
}
# Those that only scripts of packages need are left out.
packages=$(closure python3 libgcc-s1 libstdc++6 busybox-static base-files media-types |
    grep -Ev '^(dpkg|tar|perl.*|libperl.*|libgdbm.*|libmpfr6|libgmp10|libsigsegv2|debconf.*|cdebconf|gcc-.*-base|awk|mawk|gawk|original-awk|install-info|libdebian.*|coreutils|.*:.*)$')
apt-get download -qq $packages
cd ..
mkdir -p root/usr/bin root/usr/sbin root/usr/lib root/usr/lib64 root/etc root/tmp root/proc root/sys root/dev root/run root/root \
    root/var/tmp root/usr/local/bin
for name in bin sbin lib lib64; do ln -s usr/$name root/$name; done
for deb in debs/*.deb; do
    dpkg-deb --fsys-tarfile "$deb" | tar -x -C root --keep-directory-symlink --exclude='./usr/share/doc*' \
        --exclude='./usr/share/man*' --exclude='./usr/share/locale*' --exclude='./usr/share/lintian*'
done
for name in $(root/usr/bin/busybox --list); do [ -e root/usr/bin/$name ] || ln -s busybox root/usr/bin/$name; done
version=$(basename "$(readlink root/usr/bin/python3)" | tr -d a-z)
"$python" -m pip download -q --disable-pip-version-check -d root/wheels --only-binary=:all: --python-version "$version" flask==3.1.3 pip
printf '#!/bin/sh\nexec python3 "$(echo /wheels/pip-*.whl)/pip" "$@"\n' > root/usr/local/bin/pip
chmod 755 root/usr/local/bin/pip
chmod 1777 root/tmp root/var/tmp
printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' > root/etc/passwd
printf 'root:x:0:\nnogroup:x:65534:\n' > root/etc/group
tar -C root --numeric-owner --owner=0 --group=0 -cf root.tar .
