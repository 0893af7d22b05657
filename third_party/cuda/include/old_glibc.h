/*
 * old_glibc.h - included ahead of every C file (-include) of programs that must start
 * on systems older than the one they are linked on, down to glibc 2.17.
 *
 * glibc gave these functions a new version when it moved them (2.32, 2.34), and a
 * program asks for the newest it saw; all have answered to the first one ever since.
 * start.c does the same for the one that crt1.o calls.
 */
#ifndef __ASSEMBLER__
#define FIRST(f) __asm__(".symver " #f "," #f "@GLIBC_2.2.5")
FIRST(dlclose);
FIRST(dlerror);
FIRST(dlopen);
FIRST(dlsym);
FIRST(pthread_attr_getstack);
FIRST(pthread_attr_getstacksize);
FIRST(pthread_create);
FIRST(pthread_getattr_np);
FIRST(pthread_key_create);
FIRST(pthread_once);
FIRST(pthread_setspecific);
FIRST(pthread_sigmask);
#undef FIRST
#endif
