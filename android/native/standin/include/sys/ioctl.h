#pragma once
#define _IOR(type, number, size) (2U << 30 | (type) << 8 | (number) | sizeof(size) << 16)
int ioctl(int,int,...);
