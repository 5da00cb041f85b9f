#pragma once
#include <sys/types.h>
#include <time.h>
struct stat { dev_t st_dev; ino_t st_ino; mode_t st_mode; nlink_t st_nlink; uid_t st_uid; gid_t st_gid; dev_t st_rdev; unsigned long __pad1; off_t st_size; int st_blksize; int __pad2; long st_blocks; struct timespec st_atim, st_mtim, st_ctim; unsigned int __u4, __u5; };
#define st_atime st_atim.tv_sec
#define st_mtime st_mtim.tv_sec
#define st_ctime st_ctim.tv_sec
#define S_IFMT 0170000
#define S_IFLNK 0120000
#define S_IFREG 0100000
#define S_IFDIR 0040000
#define S_ISDIR(m) (((m)&S_IFMT)==S_IFDIR)
#define S_ISREG(m) (((m)&S_IFMT)==S_IFREG)
#define S_ISCHR(m) (((m)&0170000)==0020000)
#define S_ISLNK(m) (((m)&S_IFMT)==S_IFLNK)
int stat(const char*, struct stat*); int fstat(int, struct stat*); int lstat(const char*, struct stat*); int mkdir(const char*, mode_t); int fchmod(int, mode_t); mode_t umask(mode_t);
