//! The C library's allocator.

/// How many arenas all threads share.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const ARENAS: i32 = 2;

/// Has threads share their memory: by default glibc keeps freed memory for each of them, which
/// after a few big transfers makes a fifth of the process. Call it before threads are started.
/// Does nothing with other C libraries.
pub fn share_arenas() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        #[expect(unsafe_code, reason = "the C library's setting has no safe wrapper")]
        // SAFETY: the call takes two numbers and changes nothing but the allocator's own limits.
        let _is_set = unsafe { nix::libc::mallopt(nix::libc::M_ARENA_MAX, ARENAS) };
    }
}
