#pragma once
typedef unsigned int nfds_t;
struct pollfd { int fd; short events, revents; };
#define POLLIN 1
int poll(struct pollfd*, nfds_t, int);
