//! The first process of a guest: there is nothing but the kernel, and nobody else will mount anything.

use anyhow::Context;
use rustix::mount::{MountFlags, mount as mount_at};

/// Mounts the kernel's own file systems, to folders that the initramfs has, or the kernel. None of them has anything of the
/// host's.
pub fn mount() -> anyhow::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    for (kind, folder, flags) in [
        ("proc", "/proc", flags | MountFlags::NODEV),
        ("sysfs", "/sys", flags | MountFlags::NODEV),
        ("configfs", "/sys/kernel/config", flags | MountFlags::NODEV),
        ("devtmpfs", "/dev", flags),
    ] {
        mount_at(kind, folder, kind, flags, None)
            .with_context(|| format!("mounting {kind} at {folder}, which the guest's kernel has to have built in"))?;
    }
    Ok(())
}
