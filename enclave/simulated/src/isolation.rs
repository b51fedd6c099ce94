//! How this process separates itself from its machine.
//!
//! [`enter`] runs before there is any thread, and after everything is read that is in files. Each measure looks at the
//! kernel whether it is in force; one that is not says why and what to do. None is undone later.
//!
//! What is left: the connection to the host, standard error, memory, threads, time and randomness. Against the machine's
//! root all this is nothing: the TEE is simulated.

mod calls;

use anyhow::{Context, bail, ensure};
use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, Scope};
use phala_primitives::worker::Isolation;
use rustix::{
    mm::{MlockAllFlags, mlockall},
    process::{
        DumpableBehavior, Gid, Resource, Rlimit, Uid, dumpable_behavior, getegid, geteuid, getgid, getgroups,
        getrlimit, getuid, set_dumpable_behavior, setrlimit,
    },
    thread::{
        CapabilitySet, CapabilitySets, UnshareFlags, capabilities, no_new_privs, set_capabilities, set_no_new_privs,
        set_thread_groups, set_thread_res_gid, set_thread_res_uid,
    },
};
use std::{fmt, fs, io::ErrorKind, os::unix::fs::MetadataExt, path::Path};

use phala_enclave_process::memory;

/// What is in force, and what is not and why.
#[derive(Debug, Default)]
pub struct Report {
    in_force: Vec<&'static str>,
    missing: Vec<String>,
}

impl Report {
    /// Whether a measure is in force.
    fn note(&mut self, measure: &'static str, outcome: anyhow::Result<()>) -> bool {
        match outcome {
            Ok(()) => {
                self.in_force.push(measure);
                true
            }
            Err(error) => {
                self.missing.push(format!("{measure} ({error:#})"));
                false
            }
        }
    }

    /// Fails when a measure is not in force.
    pub fn ensure_complete(&self) -> anyhow::Result<()> {
        ensure!(self.missing.is_empty(), "--require-isolation, but not in force: {}", self.missing.join("; "));
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |measures: String| if measures.is_empty() { "nothing".to_owned() } else { measures };
        let (in_force, missing) = (list(self.in_force.join(", ")), list(self.missing.join("; ")));
        write!(f, "isolation in force: {in_force}; not in force: {missing}")
    }
}

/// Separates this process from its machine, as far as the machine lets it. `folder` is the one of the host's socket; `user`
/// is whom a process of root becomes. There must be no other thread.
pub fn enter(folder: &Path, user: u32) -> (Isolation, Report) {
    let mut report = Report::default();
    // In this order: what needs privileges, their end, what the end of privileges would undo, and what forbids all this.
    let isolation = Isolation {
        locked_memory: report.note("locked memory", lock_memory()),
        no_network: report.note("no network", leave_network()),
        own_user: report.note("own user", change_user(folder, user)),
        no_privileges: report.note("no privileges", drop_privileges()),
        not_dumpable: report.note("not dumpable", refuse_dumps()),
        landlock: report.note("Landlock", close_files()),
        seccomp: report.note("seccomp", calls::limit()),
    };
    (isolation, report)
}

/// Locks what is in memory now, the platform's secret among it. What comes later stays unlocked: wasmtime returns the pages of
/// a program with `MADV_DONTNEED`, which the kernel refuses where memory is locked, so they would pile up. Only a machine that
/// does not swap this process keeps those from its disks.
fn lock_memory() -> anyhow::Result<()> {
    // A limit would hold when the locked stack grows, too, and end the process.
    setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None })
        .and_then(|()| mlockall(MlockAllFlags::CURRENT | MlockAllFlags::ONFAULT))
        .context("take the limit of locked memory away: LimitMEMLOCK=infinity, or ulimit -l unlimited")?;
    ensure!(!memory::can_be_swapped(), "the machine swaps: turn it off, or set MemorySwapMax=0 for this process");
    Ok(())
}

/// Enters a network namespace of its own, in which there is nothing. Unix sockets that have a path can still be reached.
fn leave_network() -> anyhow::Result<()> {
    let network = || fs::read_link("/proc/self/ns/net").context("/proc does not tell this process's network");
    let before = network();
    let mut namespaces = UnshareFlags::NEWNET;
    if !geteuid().is_root() {
        namespaces |= UnshareFlags::NEWUSER;
    }
    unshare(namespaces).context("start the enclave as root, or let its user have user namespaces")?;
    ensure!(network()? != before?, "the network is still the machine's");
    Ok(())
}

/// Closes what whoever started this process had open, but for standard input, output and error. Call it before anything is
/// opened.
#[expect(unsafe_code, reason = "only libc has the call")]
pub fn close_inherited_files() -> anyhow::Result<()> {
    // SAFETY: nothing in this process owns a file descriptor above 2 yet.
    let closed = unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
    ensure!(closed == 0, "closing inherited files: {}", std::io::Error::last_os_error());
    Ok(())
}

#[expect(unsafe_code, reason = "the function is unsafe for the sake of file descriptors alone")]
fn unshare(namespaces: UnshareFlags) -> rustix::io::Result<()> {
    // SAFETY: what is unsafe is a table of file descriptors that threads no longer share. None is unshared here: namespaces
    // of networks and users are all that the callers ask for, and there is one thread.
    unsafe { rustix::thread::unshare_unsafe(namespaces) }
}

/// Becomes `user`, in the group of the folder of the host's socket, if root started this.
fn change_user(folder: &Path, user: u32) -> anyhow::Result<()> {
    ensure!(geteuid().is_root(), "it has the user who started it, maybe the host's: let root start the enclave");
    let name = folder.display();
    let socket_folder = fs::metadata(folder).with_context(|| format!("looking at {name}"))?;
    ensure!(socket_folder.uid() != user, "user {user} owns {name}, the host's: give another --user");
    ensure!(
        socket_folder.mode() & 0o010 != 0,
        "the enclave would not reach the host's socket as user {user}: chmod g+x {name}"
    );
    let (user, group) = (Uid::from_raw(user), Gid::from_raw(socket_folder.gid()));
    set_thread_groups(&[]).context("leaving all groups")?;
    set_thread_res_gid(group, group, group).context("changing the group")?;
    set_thread_res_uid(user, user, user).context("changing the user")?;
    let is_changed = getuid() == user && geteuid() == user && getgid() == group && getegid() == group;
    ensure!(is_changed && getgroups().is_ok_and(|groups| groups.is_empty()), "the user did not change");
    Ok(())
}

/// Gives up all capabilities, and ways to get any.
fn drop_privileges() -> anyhow::Result<()> {
    let none = CapabilitySet::empty();
    let none = CapabilitySets { effective: none, permitted: none, inheritable: none };
    set_capabilities(None, none).context("giving up capabilities")?;
    set_no_new_privs(true).context("giving up new privileges")?;
    ensure!(capabilities(None)? == none && no_new_privs()?, "privileges are left");
    Ok(())
}

/// Leaves no core dump, and lets no other process of its user attach or look into it.
fn refuse_dumps() -> anyhow::Result<()> {
    let no_core = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, no_core).context("forbidding core dumps")?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).context("forbidding dumps")?;
    let is_set = dumpable_behavior()? == DumpableBehavior::NotDumpable && getrlimit(Resource::Core) == no_core;
    ensure!(is_set, "the process can still be dumped");
    Ok(())
}

/// Closes all files, and as far as this kernel's Landlock goes, TCP and other processes. It does not mind the paths of Unix
/// sockets.
fn close_files() -> anyhow::Result<()> {
    Ruleset::default()
        .handle_access(AccessFs::from_all(ABI::V5))?
        .handle_access(AccessNet::from_all(ABI::V4))?
        .scope(Scope::from_all(ABI::V6))?
        .create()?
        .restrict_self()?;
    match fs::File::open("/") {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
        Err(error) => Err(error).context("trying whether files are closed"),
        Ok(_) => bail!("this kernel has no Landlock: take Linux 5.13 or newer with `landlock` in its list of `lsm`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_report_says_what_is_missing_and_why() {
        let mut report = Report::default();
        assert!(report.note("seccomp", Ok(())));
        assert!(report.ensure_complete().is_ok());
        assert_eq!(report.to_string(), "isolation in force: seccomp; not in force: nothing");
        assert!(!report.note("no network", Err(anyhow::anyhow!("why").context("do this"))));
        assert_eq!(report.to_string(), "isolation in force: seccomp; not in force: no network (do this: why)");
        let error = report.ensure_complete().unwrap_err().to_string();
        assert!(error.contains("--require-isolation") && error.contains("no network (do this: why)"), "{error}");
    }

    #[test]
    fn the_user_stays_where_another_could_not_reach_the_socket() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let error = change_user(folder.path(), 65534).unwrap_err().to_string();
        let expected = if geteuid().is_root() { "chmod g+x" } else { "let root start" };
        assert!(error.contains(expected), "{error}");
    }
}
