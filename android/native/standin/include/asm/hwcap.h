#pragma once
#define HWCAP_AES (1 << 3)
