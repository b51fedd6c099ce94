//! The system calls that the enclave makes. Any other ends the process.
//!
//! Libraries try some calls to learn about the machine, and go on when there is no such call: these are refused as if the
//! kernel did not have them. `clone3` is among them because its flags cannot be looked at; `clone` follows it.

use anyhow::{Context, ensure};
use rustix::thread::{SecureComputingMode, secure_computing_mode};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use std::collections::BTreeMap;

/// What the enclave lives by.
const ALLOWED: &[i64] = &[
    // Memory. The images of programs' memories lie in memory files.
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_memfd_create,
    // Threads.
    libc::SYS_clone,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_futex,
    libc::SYS_membarrier,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_prctl,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Signals: traps of programs, and an abort.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_tgkill,
    libc::SYS_restart_syscall,
    // Time and chance.
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_getrandom,
    // The host and standard error.
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_shutdown,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_fcntl,
    libc::SYS_close,
];

/// What libraries may try in vain.
const REFUSED: &[i64] = &[
    libc::SYS_clone3,
    libc::SYS_process_madvise,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_readlinkat,
    libc::SYS_getcwd,
    libc::SYS_lseek,
    libc::SYS_ioctl,
    libc::SYS_ppoll,
    libc::SYS_prlimit64,
    libc::SYS_sysinfo,
    libc::SYS_uname,
];

/// The older forms of these.
#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[i64] =
    &[libc::SYS_open, libc::SYS_access, libc::SYS_stat, libc::SYS_lstat, libc::SYS_readlink, libc::SYS_poll];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[i64] = &[];

/// Leaves this process and its threads these calls. There must be no other thread yet.
pub fn limit() -> anyhow::Result<()> {
    for filter in filters()? {
        seccompiler::apply_filter(&filter)
            .context("let this process filter system calls: a kernel with CONFIG_SECCOMP_FILTER")?;
    }
    ensure!(secure_computing_mode()? == SecureComputingMode::Filter, "the kernel took no filter");
    Ok(())
}

/// What refuses, and what ends the process: the kernel asks all filters, and the strictest answer counts. The last filter
/// leaves no way to add another.
fn filters() -> Result<[BpfProgram; 2], BackendError> {
    let whenever = |call: &i64| (*call, vec![]);
    let refused = REFUSED.iter().chain(REFUSED_HERE).map(whenever);
    let refused: BTreeMap<_, _> = refused.chain(wrong_forms()?.map(|(call, rule)| (call, vec![rule]))).collect();
    let known = ALLOWED.iter().chain(REFUSED).chain(REFUSED_HERE).map(whenever).collect();

    let missing = SeccompAction::Errno(libc::ENOSYS as u32);
    let machine = TargetArch::try_from(std::env::consts::ARCH)?;
    Ok([
        SeccompFilter::new(refused, SeccompAction::Allow, missing, machine)?.try_into()?,
        SeccompFilter::new(known, SeccompAction::KillProcess, SeccompAction::Allow, machine)?.try_into()?,
    ])
}

/// In which form an allowed call is refused.
fn wrong_forms() -> Result<impl Iterator<Item = (i64, SeccompRule)>, BackendError> {
    // All of these look at their first argument, an `int` or the lower half of a `long`.
    let first = |operator, value| SeccompCondition::new(0, SeccompCmpArgLen::Dword, operator, value);
    let is_not = |value: i32| first(SeccompCmpOp::Ne, value as u64);
    let this_process = u64::from(std::process::id());
    let forms = [
        // Another process instead of a thread.
        (libc::SYS_clone, SeccompRule::new(vec![first(SeccompCmpOp::MaskedEq(libc::CLONE_THREAD as u64), 0)?])?),
        (libc::SYS_socket, SeccompRule::new(vec![is_not(libc::AF_UNIX)?])?),
        // A signal for another process.
        (libc::SYS_tgkill, SeccompRule::new(vec![first(SeccompCmpOp::Ne, this_process)?])?),
        // Anything but a thread's name, and what `limit` itself needs.
        (
            libc::SYS_prctl,
            SeccompRule::new(vec![
                is_not(libc::PR_SET_NAME)?,
                is_not(libc::PR_SET_NO_NEW_PRIVS)?,
                is_not(libc::PR_GET_SECCOMP)?,
            ])?,
        ),
    ];
    Ok(forms.into_iter())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_compile() {
        for filter in filters().unwrap() {
            assert!((10..1000).contains(&filter.len()), "{} instructions", filter.len());
        }
    }

    #[test]
    fn no_call_is_in_two_lists() {
        let mut all: Vec<_> = ALLOWED.iter().chain(REFUSED).chain(REFUSED_HERE).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
        for (call, _) in wrong_forms().unwrap() {
            assert!(ALLOWED.contains(&call), "{call} is limited, but not allowed");
        }
    }

    #[test]
    fn nothing_allowed_opens_runs_or_looks_into_anything() {
        for call in [
            libc::SYS_openat,
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_process_vm_writev,
            libc::SYS_kill,
            libc::SYS_bind,
            libc::SYS_listen,
            libc::SYS_accept4,
            libc::SYS_socketpair,
            libc::SYS_sendmsg,
            libc::SYS_recvmsg,
            libc::SYS_io_uring_setup,
            libc::SYS_bpf,
            libc::SYS_unshare,
            libc::SYS_mount,
            libc::SYS_userfaultfd,
        ] {
            assert!(!ALLOWED.contains(&call), "{call}");
        }
    }
}
