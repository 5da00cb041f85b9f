//! The layer between SQLite and the system's files: it asks a [`Disk`] before each call, and otherwise does what the system does.
//!
//! The only file with `unsafe` code: SQLite calls it, and it calls SQLite, in C.

#![allow(unsafe_code)]

use std::{
    ffi::{CStr, OsStr, c_char, c_int, c_void},
    mem::size_of,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    ptr::null_mut,
    sync::{Arc, Once},
    time::Duration,
};

use rusqlite::ffi;

use crate::disk::{Answer, Disk, Op};

unsafe extern "C" {
    /// Of SQLite3 Multiple Ciphers: a layer that seals pages, over the named one.
    fn sqlite3mc_vfs_create(real: *const c_char, make_default: c_int) -> c_int;
}

const NAME: &CStr = c"faulty";

/// A file as SQLite sees it; the system's own follows it in memory.
#[repr(C)]
struct Handle {
    base: ffi::sqlite3_file,
    state: *mut State,
}

/// What we know of an open file. `None`: no disk of ours, so everything passes.
struct State {
    disk: Option<Arc<Disk>>,
    path: PathBuf,
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    // 2: shared memory, but no mapped pages, which would be written past us.
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// Puts the layer under every database that this process opens from here on, sealed or not. Files outside a [`Disk`] pass through.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: SQLite is initialised first, which registers "unix" and the layer that seals; both live as long as the process, as does
        // what is leaked here. Nothing has a database open yet, or it goes on with the layers it has.
        unsafe {
            assert_eq!(ffi::sqlite3_initialize(), ffi::SQLITE_OK);
            let real = ffi::sqlite3_vfs_find(c"unix".as_ptr());
            assert!(!real.is_null(), "no system files");
            let mut layer = *real;
            layer.zName = NAME.as_ptr();
            layer.pNext = null_mut();
            layer.pAppData = real.cast();
            layer.szOsFile = c_int::try_from(size_of::<Handle>()).expect("small") + (*real).szOsFile;
            layer.xOpen = Some(open);
            layer.xDelete = Some(delete);
            layer.xAccess = Some(access);
            layer.xSleep = Some(sleep);
            let layer = Box::leak(Box::new(Layer(layer)));
            assert_eq!(ffi::sqlite3_vfs_register(&mut layer.0, 0), ffi::SQLITE_OK);
            assert_eq!(sqlite3mc_vfs_create(NAME.as_ptr(), 1), ffi::SQLITE_OK);
        }
    });
}

struct Layer(ffi::sqlite3_vfs);

unsafe fn real_vfs(vfs: *mut ffi::sqlite3_vfs) -> *mut ffi::sqlite3_vfs {
    // SAFETY: `install` put it there.
    unsafe { (*vfs).pAppData.cast() }
}

unsafe fn real(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    // SAFETY: SQLite reserves `szOsFile` bytes, so the system's file has its room after ours.
    unsafe { file.cast::<u8>().add(size_of::<Handle>()).cast() }
}

unsafe fn state<'a>(file: *mut ffi::sqlite3_file) -> &'a State {
    // SAFETY: set by `open` before SQLite sees our methods, freed by `close`, the last call on a file.
    unsafe { &*(*file.cast::<Handle>()).state }
}

/// The system's method of a file.
macro_rules! system {
    ($file:expr, $method:ident ( $($arg:expr),* )) => {{
        let real = real($file);
        ((*(*real).pMethods).$method.expect("unix has every method"))(real, $($arg),*)
    }};
}

unsafe fn path_of(name: *const c_char) -> Option<PathBuf> {
    if name.is_null() {
        return None;
    }
    // SAFETY: SQLite's names end with a zero.
    let name = unsafe { CStr::from_ptr(name) };
    Some(Path::new(OsStr::from_bytes(name.to_bytes())).to_owned())
}

/// Asks the disk, and answers at once if the call is to fail whole.
macro_rules! ask {
    ($state:expr, $op:expr) => {
        if let Some(disk) = &$state.disk
            && let Answer::Fail(code) | Answer::Part(_, code) = disk.ask($op, &$state.path)
        {
            return code;
        }
    };
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives room for `szOsFile` bytes at `file`, and a null method table means that the file is not open.
    unsafe {
        (*file).pMethods = std::ptr::null();
        let path = path_of(name).unwrap_or_default();
        let disk = Disk::of(&path);
        let mut flags = flags;
        let existed = path.exists();
        if let Some(disk) = &disk {
            match disk.ask(Op::Open { creates: !existed }, &path) {
                Answer::Go => {}
                // As the system does where a folder may not be written: the file opens for reading, if it is there.
                Answer::Fail(ffi::SQLITE_READONLY) if existed => {
                    flags &= !(ffi::SQLITE_OPEN_READWRITE | ffi::SQLITE_OPEN_CREATE);
                    flags |= ffi::SQLITE_OPEN_READONLY;
                }
                Answer::Fail(ffi::SQLITE_READONLY) => return ffi::SQLITE_CANTOPEN,
                Answer::Fail(code) | Answer::Part(_, code) => return code,
            }
            disk.opening(&path);
        }
        let vfs = real_vfs(vfs);
        let code = ((*vfs).xOpen.expect("unix opens"))(vfs, name, real(file), flags, out);
        if code != ffi::SQLITE_OK {
            return code;
        }
        if let Some(disk) = &disk {
            let journal = ffi::SQLITE_OPEN_WAL | ffi::SQLITE_OPEN_MAIN_JOURNAL | ffi::SQLITE_OPEN_SUPER_JOURNAL;
            disk.opened(&path, flags & journal != 0);
        }
        let handle = file.cast::<Handle>();
        (*handle).state = Box::into_raw(Box::new(State { disk, path }));
        (*file).pMethods = &METHODS;
        ffi::SQLITE_OK
    }
}

unsafe extern "C" fn delete(vfs: *mut ffi::sqlite3_vfs, name: *const c_char, sync_dir: c_int) -> c_int {
    // SAFETY: as SQLite called us, we call the system.
    unsafe {
        let path = path_of(name).unwrap_or_default();
        let disk = Disk::of(&path);
        if let Some(disk) = &disk
            && let Answer::Fail(code) | Answer::Part(_, code) = disk.ask(Op::Delete, &path)
        {
            return code;
        }
        let vfs = real_vfs(vfs);
        let code = ((*vfs).xDelete.expect("unix deletes"))(vfs, name, sync_dir);
        if let Some(disk) = &disk
            && code == ffi::SQLITE_OK
        {
            disk.deleted(&path, sync_dir != 0);
        }
        code
    }
}

unsafe extern "C" fn access(vfs: *mut ffi::sqlite3_vfs, name: *const c_char, flags: c_int, out: *mut c_int) -> c_int {
    // SAFETY: as above.
    unsafe {
        let path = path_of(name).unwrap_or_default();
        if let Some(disk) = Disk::of(&path)
            && let Answer::Fail(code) | Answer::Part(_, code) = disk.ask(Op::Access, &path)
        {
            return code;
        }
        let vfs = real_vfs(vfs);
        ((*vfs).xAccess.expect("unix looks"))(vfs, name, flags, out)
    }
}

/// SQLite waits for locks by sleeping. For those that nobody holds it is told that the time has passed.
unsafe extern "C" fn sleep(_: *mut ffi::sqlite3_vfs, microseconds: c_int) -> c_int {
    if Disk::feigns_locks() {
        std::thread::yield_now();
    } else {
        std::thread::sleep(Duration::from_micros(microseconds.max(0) as u64));
    }
    microseconds
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: the last call on this file. It always closes, whatever the disk says, as close(2) does.
    unsafe {
        let code = system!(file, xClose());
        let handle = file.cast::<Handle>();
        let state = Box::from_raw((*handle).state);
        if let Some(disk) = &state.disk {
            disk.closed();
        }
        (*file).pMethods = std::ptr::null();
        code
    }
}

unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, into: *mut c_void, len: c_int, offset: i64) -> c_int {
    // SAFETY: SQLite gives room for `len` bytes.
    unsafe {
        let state = state(file);
        if let Some(disk) = &state.disk {
            match disk.ask(Op::Read { len: len as usize }, &state.path) {
                Answer::Go => {}
                Answer::Fail(code) => return code,
                // What is missing reads as zeros: SQLite asks that of its files.
                Answer::Part(some, code) => {
                    let answer = system!(file, xRead(into, len, offset));
                    into.cast::<u8>().add(some).write_bytes(0, len as usize - some);
                    return if answer == ffi::SQLITE_OK { code } else { answer };
                }
            }
        }
        system!(file, xRead(into, len, offset))
    }
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, from: *const c_void, len: c_int, offset: i64) -> c_int {
    // SAFETY: SQLite gives `len` bytes.
    unsafe {
        let state = state(file);
        let Some(disk) = &state.disk else {
            return system!(file, xWrite(from, len, offset));
        };
        let bytes = std::slice::from_raw_parts(from.cast::<u8>(), len as usize);
        match disk.ask(
            Op::Write {
                offset: offset as u64,
                len: len as usize,
            },
            &state.path,
        ) {
            Answer::Go => {
                let code = system!(file, xWrite(from, len, offset));
                if code == ffi::SQLITE_OK {
                    disk.wrote(&state.path, offset as u64, bytes);
                }
                code
            }
            Answer::Fail(code) => code,
            Answer::Part(some, code) => {
                if some > 0 && system!(file, xWrite(from, some as c_int, offset)) == ffi::SQLITE_OK {
                    disk.wrote(&state.path, offset as u64, &bytes[..some]);
                }
                code
            }
        }
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, len: i64) -> c_int {
    // SAFETY: as above.
    unsafe {
        let state = state(file);
        ask!(state, Op::Truncate);
        let code = system!(file, xTruncate(len));
        if let Some(disk) = &state.disk
            && code == ffi::SQLITE_OK
        {
            disk.truncated(&state.path, len as u64);
        }
        code
    }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: as above.
    unsafe {
        let state = state(file);
        let Some(disk) = &state.disk else {
            return system!(file, xSync(flags));
        };
        // The bytes are the disk's to keep: the system's own flush would only cost time.
        match disk.ask(Op::Sync, &state.path) {
            Answer::Go => {
                disk.synced(&state.path);
                ffi::SQLITE_OK
            }
            Answer::Fail(code) | Answer::Part(_, code) => code,
        }
    }
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, out: *mut i64) -> c_int {
    // SAFETY: as above.
    unsafe {
        ask!(state(file), Op::Size);
        system!(file, xFileSize(out))
    }
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: as above.
    unsafe {
        ask!(state(file), Op::Lock);
        system!(file, xLock(level))
    }
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: as above. A lock is let go of in any case.
    unsafe { system!(file, xUnlock(level)) }
}

unsafe extern "C" fn check_reserved_lock(file: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: as above.
    unsafe {
        ask!(state(file), Op::Lock);
        system!(file, xCheckReservedLock(out))
    }
}

unsafe extern "C" fn file_control(file: *mut ffi::sqlite3_file, op: c_int, arg: *mut c_void) -> c_int {
    // SAFETY: as above. Hints about size would change the file past us.
    unsafe {
        match op {
            ffi::SQLITE_FCNTL_SIZE_HINT | ffi::SQLITE_FCNTL_CHUNK_SIZE => ffi::SQLITE_OK,
            _ => system!(file, xFileControl(op, arg)),
        }
    }
}

unsafe extern "C" fn sector_size(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: as above.
    unsafe { system!(file, xSectorSize()) }
}

unsafe extern "C" fn device_characteristics(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: as above.
    unsafe { system!(file, xDeviceCharacteristics()) }
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    region: c_int,
    size: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    // SAFETY: as above.
    unsafe {
        ask!(state(file), Op::ShmMap);
        system!(file, xShmMap(region, size, extend, out))
    }
}

unsafe extern "C" fn shm_lock(file: *mut ffi::sqlite3_file, offset: c_int, n: c_int, flags: c_int) -> c_int {
    // SAFETY: as above. Letting go never fails.
    unsafe {
        if flags & ffi::SQLITE_SHM_LOCK != 0 {
            ask!(state(file), Op::ShmLock);
        }
        system!(file, xShmLock(offset, n, flags))
    }
}

unsafe extern "C" fn shm_barrier(file: *mut ffi::sqlite3_file) {
    // SAFETY: as above.
    unsafe { system!(file, xShmBarrier()) }
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, delete: c_int) -> c_int {
    // SAFETY: as above.
    unsafe { system!(file, xShmUnmap(delete)) }
}
