//go:build cuda && cgo && linux

/*
 * start.c - how a program that is linked with -Wl,--wrap=__libc_start_main asks for the
 * first version of that function, for systems older than the one it is linked on
 * (old_glibc.h). Before glibc 2.34 it called the constructors it was given, later it
 * finds them itself where it is given none: it is given ours.
 */
#ifdef DATAFLEX_OLD_GLIBC

typedef int start(int (*main)(int, char **, char **), int argc, char **argv, void (*init)(int, char **, char **),
	void (*fini)(void), void (*loader_fini)(void), void *stack_end);

extern start first_libc_start_main;
__asm__(".symver first_libc_start_main,__libc_start_main@GLIBC_2.2.5");

extern void (*__init_array_start[])(int, char **, char **);
extern void (*__init_array_end[])(int, char **, char **);

static void constructors(int argc, char **argv, char **env)
{
	for (void (**f)(int, char **, char **) = __init_array_start; f < __init_array_end; f++)
		(*f)(argc, argv, env);
}

__attribute__((visibility("hidden"))) int __wrap___libc_start_main(int (*main)(int, char **, char **), int argc, char **argv,
	void (*init)(int, char **, char **), void (*fini)(void), void (*loader_fini)(void), void *stack_end)
{
	return first_libc_start_main(main, argc, argv, init != 0 ? init : constructors, fini, loader_fini, stack_end);
}

#endif
