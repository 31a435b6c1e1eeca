//! Unpacks the program in it in memory and becomes that, with the same arguments and environment.
//!
//! A program for pods travels in a ConfigMap, which holds 1 MiB; packed, a bigger one fits. Needs
//! `memfd_create` (Linux 3.17) and no file system.
//!
//! `KT_PACKED` names, when this is built, the program as `gzip -n` has packed it (RFC 1952): a
//! header of 10 bytes, deflated data, a checksum, and the length in the last 4 bytes.

#![no_std]
#![no_main]

use core::ffi::{CStr, c_char, c_int};

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

static PACKED: &[u8] = include_bytes!(env!("KT_PACKED"));
const HEADER: usize = 10;
const TRAILER: usize = 8;

#[link(name = "c")]
unsafe extern "C" {
    static environ: *const *const c_char;
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    // SAFETY: it takes nothing and does not return.
    unsafe { libc::abort() }
}

/// What the C library calls. Returns only when something failed.
#[unsafe(no_mangle)]
extern "C" fn main(_: c_int, arguments: *const *const c_char) -> c_int {
    let Some(failed) = unpack_and_become(arguments) else { return 1 };
    // SAFETY: the text ends with a zero.
    unsafe { libc::perror(failed.as_ptr()) };
    1
}

/// Tells what has failed, with `errno` set.
fn unpack_and_become(arguments: *const *const c_char) -> Option<&'static CStr> {
    let mut last = [0; 4];
    last.copy_from_slice(PACKED.get(PACKED.len() - 4..)?);
    let length = u32::from_le_bytes(last) as usize;
    // SAFETY: the name ends with a zero; the numbers are checked after each call, and the mapping is
    // as long as the file that was made for it, and nobody else's.
    unsafe {
        let file = libc::memfd_create(c"kt".as_ptr(), libc::MFD_CLOEXEC);
        if file < 0 || libc::ftruncate(file, length as libc::off_t) < 0 {
            return Some(c"memory for the program");
        }
        let (access, shared) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        let mapped = libc::mmap(core::ptr::null_mut(), length, access, shared, file, 0);
        if mapped == libc::MAP_FAILED {
            return Some(c"memory for the program");
        }
        if !unpack(core::slice::from_raw_parts_mut(mapped.cast(), length)) {
            return Some(c"the packed program is damaged");
        }
        libc::munmap(mapped, length);
        libc::fexecve(file, arguments, environ);
    }
    Some(c"starting the unpacked program")
}

fn unpack(out: &mut [u8]) -> bool {
    let Some(deflated) = PACKED.get(HEADER..PACKED.len() - TRAILER) else { return false };
    let flags = TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    let (status, _, written) = decompress(&mut DecompressorOxide::new(), deflated, out, 0, flags);
    status == TINFLStatus::Done && written == out.len()
}
