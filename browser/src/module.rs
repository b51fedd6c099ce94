//! What the WebAssembly module exports: its memory, [`room`] and [`answer`].

#![expect(unsafe_code, reason = "JavaScript passes numbers where Rust has slices")]

use alloc::{boxed::Box, vec};
use core::{panic::PanicInfo, ptr};

#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

/// Traps, which is an exception in JavaScript.
#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}

/// Makes room for a request: zeros.
#[unsafe(no_mangle)]
extern "C" fn room(length: usize) -> *mut u8 {
    Box::<[u8]>::into_raw(vec![0; length].into()).cast()
}

/// Answers the request in the `room` for `length` bytes: a pointer to the answer's length, four bytes, low ones first, which
/// the answer follows. It is never freed: the instance is thrown away.
///
/// # Safety
/// `room` is what [`room`] returned for this `length`, and is given up.
#[unsafe(no_mangle)]
unsafe extern "C" fn answer(room: *mut u8, length: usize) -> *const u8 {
    // SAFETY: `room` made it of a box of this length, and the caller gives it up.
    let request = unsafe { Box::from_raw(ptr::slice_from_raw_parts_mut(room, length)) };
    let answer = crate::answer(&request);
    [&answer.len().to_le_bytes()[..], answer.as_bytes()].concat().leak().as_ptr()
}
