//! The key that AMD's secure processor derives for an SEV-SNP guest.
//!
//! It comes from the chip's endorsement key (VCEK), the guest's measurement and its policy: another image, another chip, or the
//! same image started for debugging gets another. It goes through the host encrypted. The firmware may derive another one after
//! an update; then what is sealed does not open, and the operator begins with a new worker.
//!
//! Sources: SEV Secure Nested Paging firmware ABI (56860), tables 18 and 19 (MSG_KEY_REQ, MSG_KEY_RSP); Linux,
//! include/uapi/linux/sev-guest.h.

use rustix::ioctl::{self, Opcode, Updater, opcode};
use std::{
    fs::{File, OpenOptions},
    io,
    path::Path,
    ptr,
};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{Error, files::failed};

const DEVICE: &str = "dev/sev-guest";
const GET_DERIVED_KEY: Opcode = opcode::read_write::<GuestRequest>(b'S', 1);

/// What is mixed into the key, beside the root key.
const GUEST_POLICY: u64 = 1;
const MEASUREMENT: u64 = 1 << 3;

const VCEK: u32 = 0;

/// `struct snp_guest_request_ioctl`.
#[repr(C)]
struct GuestRequest {
    message_version: u8,
    request: u64,
    response: u64,
    /// The firmware's error below, the hypervisor's above.
    error: u64,
}

/// `struct snp_derived_key_req`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct KeyRequest {
    root_key_select: u32,
    reserved: u32,
    guest_field_select: u64,
    vmpl: u32,
    guest_svn: u32,
    tcb_version: u64,
}

/// `struct snp_derived_key_resp`.
#[repr(C)]
#[derive(Zeroize, ZeroizeOnDrop)]
struct KeyResponse {
    status: u32,
    reserved: [u8; 28],
    key: [u8; 32],
}

/// What the sealing key is derived from.
pub(crate) fn sealing_secret(root: &Path) -> Result<Zeroizing<Vec<u8>>, Error> {
    let path = root.join(DEVICE);
    let device = OpenOptions::new().read(true).write(true).open(&path).map_err(failed(&path))?;
    derive(|request| {
        ask(&device, request).map_err(|(error, code)| match code {
            0 => failed(&path)(error),
            code => Error::NoKey(code),
        })
    })
}

fn derive(ask: impl FnOnce(&KeyRequest) -> Result<KeyResponse, Error>) -> Result<Zeroizing<Vec<u8>>, Error> {
    let response = ask(&KeyRequest {
        root_key_select: VCEK,
        reserved: 0,
        guest_field_select: GUEST_POLICY | MEASUREMENT,
        vmpl: 0,
        guest_svn: 0,
        tcb_version: 0,
    })?;
    match response.status {
        0 if response.key != [0; 32] => Ok(Zeroizing::new(response.key.to_vec())),
        status => Err(Error::NoKey(status.into())),
    }
}

/// Asks the secure processor. An error has the firmware's and the hypervisor's code, 0 where the kernel refuses by itself.
#[expect(unsafe_code, reason = "an ioctl of its own, which only the kernel's header describes")]
fn ask(device: &File, request: &KeyRequest) -> Result<KeyResponse, (io::Error, u64)> {
    let mut response = KeyResponse { status: 0, reserved: [0; 28], key: [0; 32] };
    let mut message = GuestRequest {
        message_version: 1,
        request: ptr::from_ref(request).expose_provenance() as u64,
        response: ptr::from_mut(&mut response).expose_provenance() as u64,
        error: 0,
    };
    // SAFETY: the types are those of the kernel's header. The kernel reads `request` and writes `response`, both of which live
    // until the call returns.
    let asked = unsafe { ioctl::ioctl(device, Updater::<GET_DERIVED_KEY, GuestRequest>::new(&mut message)) };
    match asked {
        Ok(()) => Ok(response),
        Err(error) => Err((error.into(), message.error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u32, key: u8) -> KeyResponse {
        KeyResponse { status, reserved: [0; 28], key: [key; 32] }
    }

    #[test]
    fn the_key_is_bound_to_chip_measurement_and_policy() {
        let mut asked = None;
        let key = derive(|request| {
            asked = Some(*request);
            Ok(answer(0, 7))
        });
        assert_eq!(key.unwrap()[..], [7; 32]);
        let asked = asked.unwrap();
        assert_eq!((asked.root_key_select, asked.guest_field_select), (0, 0b1001));
    }

    #[test]
    fn a_refusal_and_a_key_of_zeros_are_no_key() {
        assert!(matches!(derive(|_| Ok(answer(0x16, 7))), Err(Error::NoKey(0x16))));
        assert!(matches!(derive(|_| Ok(answer(0, 0))), Err(Error::NoKey(0))));
        assert!(matches!(derive(|_| Err(Error::NoKey(5))), Err(Error::NoKey(5))));
    }

    #[test]
    fn the_call_is_the_kernels() {
        assert_eq!(GET_DERIVED_KEY, 0xc020_5301);
        assert_eq!((size_of::<GuestRequest>(), size_of::<KeyRequest>(), size_of::<KeyResponse>()), (32, 32, 64));
    }

    #[test]
    fn what_is_no_such_device_gives_no_key() {
        let root = tempfile::tempdir().unwrap();
        assert!(matches!(sealing_secret(root.path()), Err(Error::File { .. })));
        std::fs::create_dir(root.path().join("dev")).unwrap();
        std::fs::write(root.path().join(DEVICE), []).unwrap();
        assert!(matches!(sealing_secret(root.path()), Err(Error::File { .. })));
    }
}
