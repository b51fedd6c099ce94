//! The operating system's randomness, for threads of a world: from the world's seed.
//!
//! `HashMap` draws its keys, `age` its file keys and `schnorrkel` its nonces from the operating system. Some ask the C library's
//! `getrandom`, others make the system call through the C library's `syscall`. So this module defines both symbols: a
//! program that links it calls these instead. They serve a thread of a world from its [`Dice`], and everything else from the
//! kernel, as the C library would.
//!
//! On other systems than Linux with the GNU C library on x86-64 and AArch64 nothing is replaced, and two runs of a seed may
//! differ.

use super::Dice;
use std::{cell::Cell, ptr};

thread_local! {
    /// Whose randomness this thread gets. Needs no destructor, so that it can be read at any time of a thread's life.
    static WORLD: Cell<*const Dice> = const { Cell::new(ptr::null()) };
}

/// From now on this thread gets its randomness from `dice`; from the operating system with `None`.
pub fn use_dice(dice: Option<&'static Dice>) {
    WORLD.set(dice.map_or(ptr::null(), ptr::from_ref));
}

/// The world that this thread belongs to: a number that no other has.
pub fn world() -> Option<usize> {
    let dice = WORLD.get();
    (!dice.is_null()).then(|| dice.addr())
}

#[cfg(all(target_os = "linux", target_env = "gnu", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod replaced {
    #![allow(unsafe_code)]

    use super::WORLD;
    use std::{
        arch::asm,
        ffi::{c_int, c_long, c_uint, c_void},
        slice,
    };

    #[cfg(target_arch = "x86_64")]
    const SYS_GETRANDOM: c_long = 318;
    #[cfg(target_arch = "aarch64")]
    const SYS_GETRANDOM: c_long = 278;

    /// The largest error number that a system call gives, negated.
    const MAX_ERRNO: c_long = 4095;

    unsafe extern "C" {
        /// Where the C library keeps the calling thread's `errno`.
        safe fn __errno_location() -> *mut c_int;
    }

    /// Takes the place of the C library's `getrandom(2)`.
    ///
    /// # Safety
    /// As there: `buffer` is valid for `length` bytes.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn getrandom(buffer: *mut c_void, length: usize, flags: c_uint) -> isize {
        // SAFETY: the caller's promise is the one that the system call asks for.
        unsafe { syscall(SYS_GETRANDOM, buffer as c_long, length as c_long, c_long::from(flags), 0, 0, 0) as isize }
    }

    /// Takes the place of the C library's `syscall(2)`. That one is variadic; on these processors its arguments lie where
    /// those of this function do, and what a caller did not give is read and means nothing to the kernel.
    ///
    /// # Safety
    /// That of the system call.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn syscall(
        number: c_long,
        a: c_long,
        b: c_long,
        c: c_long,
        d: c_long,
        e: c_long,
        f: c_long,
    ) -> c_long {
        let dice = WORLD.get();
        if number == SYS_GETRANDOM && !dice.is_null() {
            if b > 0 {
                // SAFETY: `dice` came from a `&'static`. By the caller's promise `a` points to `b` bytes that may be written,
                // which nobody else uses meanwhile; they are written without being read.
                unsafe {
                    let buffer = a as *mut u8;
                    buffer.write_bytes(0, b as usize);
                    (*dice).fill(slice::from_raw_parts_mut(buffer, b as usize));
                }
            }
            return b;
        }
        // SAFETY: the caller's promise.
        let result = unsafe { kernel(number, a, b, c, d, e, f) };
        if (-MAX_ERRNO..0).contains(&result) {
            // SAFETY: the location is the calling thread's own, always.
            unsafe { *__errno_location() = -result as c_int };
            return -1;
        }
        result
    }

    /// A system call, as the C library makes it.
    ///
    /// # Safety
    /// That of the system call.
    #[cfg(target_arch = "x86_64")]
    unsafe fn kernel(number: c_long, a: c_long, b: c_long, c: c_long, d: c_long, e: c_long, f: c_long) -> c_long {
        let result;
        // SAFETY: the registers are those of the kernel's calling convention; it changes `rcx` and `r11` and no stack.
        unsafe {
            asm!(
                "syscall",
                inlateout("rax") number => result,
                in("rdi") a,
                in("rsi") b,
                in("rdx") c,
                in("r10") d,
                in("r8") e,
                in("r9") f,
                lateout("rcx") _,
                lateout("r11") _,
                options(nostack),
            );
        }
        result
    }

    /// A system call, as the C library makes it.
    ///
    /// # Safety
    /// That of the system call.
    #[cfg(target_arch = "aarch64")]
    unsafe fn kernel(number: c_long, a: c_long, b: c_long, c: c_long, d: c_long, e: c_long, f: c_long) -> c_long {
        let result;
        // SAFETY: the registers are those of the kernel's calling convention; it changes no other and no stack.
        unsafe {
            asm!(
                "svc 0",
                in("x8") number,
                inlateout("x0") a => result,
                in("x1") b,
                in("x2") c,
                in("x3") d,
                in("x4") e,
                in("x5") f,
                options(nostack),
            );
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simulated_thread_draws_from_its_dice_and_no_other_does() {
        let draw = |seed: Option<u64>| {
            let thread = std::thread::spawn(move || {
                use_dice(seed.map(|seed| &*Box::leak(Box::new(Dice::new(seed, "os")))));
                let mut bytes = [0; 16];
                getrandom::fill(&mut bytes).unwrap();
                // An age identity draws by the system call itself.
                use age::secrecy::ExposeSecret;
                (bytes, age::x25519::Identity::generate().to_string().expose_secret().to_owned())
            });
            thread.join().unwrap()
        };
        assert_ne!(draw(None), draw(None));
        assert_ne!(draw(Some(1)), draw(Some(2)));
        if cfg!(all(target_os = "linux", target_env = "gnu", any(target_arch = "x86_64", target_arch = "aarch64"))) {
            assert_eq!(draw(Some(1)), draw(Some(1)));
        }
    }
}
