//! Buffers of what users keep secret: overwritten when they are dropped, and where they move because they grow.

use zeroize::Zeroizing;

/// Secret bytes.
pub(crate) type Buffer = Zeroizing<Vec<u8>>;

/// Makes room for `additional` more bytes. Where the buffer must move, nothing stays behind.
fn reserve(buffer: &mut Buffer, additional: usize) {
    let needed = buffer.len().saturating_add(additional);
    if needed > buffer.capacity() {
        let mut larger = Buffer::new(Vec::with_capacity(needed.max(buffer.capacity().saturating_mul(2))));
        larger.extend_from_slice(buffer);
        *buffer = larger;
    }
}

/// Adds `bytes` at the end.
pub(crate) fn append(buffer: &mut Buffer, bytes: &[u8]) {
    reserve(buffer, bytes.len());
    buffer.extend_from_slice(bytes);
}

/// Cuts the buffer, or fills it with zeros.
pub(crate) fn resize(buffer: &mut Buffer, length: usize) {
    if length == 0 {
        *buffer = Buffer::default();
    } else {
        reserve(buffer, length.saturating_sub(buffer.len()));
        buffer.resize(length, 0);
    }
}

/// The bytes, for who overwrites them in turn.
pub(crate) fn into_vec(mut buffer: Buffer) -> Vec<u8> {
    std::mem::take(&mut *buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_grow_and_shrink() {
        let mut buffer = Buffer::default();
        append(&mut buffer, b"abc");
        append(&mut buffer, &[7; 1000]);
        assert_eq!((buffer.len(), &buffer[..4]), (1003, &b"abc\x07"[..]));
        resize(&mut buffer, 2);
        resize(&mut buffer, 4);
        assert_eq!(&buffer[..], b"ab\0\0");
        resize(&mut buffer, 0);
        assert_eq!((buffer.len(), buffer.capacity()), (0, 0));
        append(&mut buffer, b"x");
        assert_eq!(into_vec(buffer), b"x");
    }
}
