//! The first process of a guest: there is nothing but the kernel, and nobody else will mount anything.

use anyhow::Context;
use rustix::{
    fs::Mode,
    io::Errno,
    mount::{MountFlags, mount as mount_at},
};

/// Mounts the kernel's own file systems. None of them has anything of the host's.
pub fn mount() -> anyhow::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    for (kind, folder, flags) in [
        ("proc", "/proc", flags | MountFlags::NODEV),
        ("sysfs", "/sys", flags | MountFlags::NODEV),
        ("configfs", "/sys/kernel/config", flags | MountFlags::NODEV),
        ("devtmpfs", "/dev", flags),
    ] {
        match rustix::fs::mkdir(folder, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error).with_context(|| format!("making {folder}")),
        }
        mount_at(kind, folder, kind, flags, None).with_context(|| format!("mounting {kind} at {folder}"))?;
    }
    Ok(())
}
