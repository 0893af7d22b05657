/*
 * fakecuda.c - a libcuda.so.1 without a GPU, for the tests of driver/cuda.
 *
 * It is as strict as it can be cheaply: asynchronous work is put off until
 * something waits for it, in the order that streams and events impose, so a
 * missing wait shows as wrong data; device memory starts as 0xAB bytes; copies
 * must stay inside allocations and asynchronous ones must use pinned memory;
 * every call but the first few needs the right context on its own thread; a
 * kernel's fault spoils the context.
 *
 * Environment: FAKECUDA_LOG, a file that gets a line per call of interest;
 * FAKECUDA_FAIL=call=code, the one call that answers with an error;
 * FAKECUDA_INIT, FAKECUDA_VERSION, FAKECUDA_DEVICES, FAKECUDA_MAJOR and
 * FAKECUDA_MEMORY, what cuInit answers and what the machine is.
 * -DNO_TENSORMAP leaves a symbol out, as an old driver would.
 *
 * Numbers: a kernel takes 1 ms of device time, a copy 0.25 ms. */
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define API __attribute__((visibility("default"))) int
typedef unsigned long long ptr;

enum { OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_DEVICE = 101, INVALID_CONTEXT = 201, INVALID_PTX = 218,
	INVALID_HANDLE = 400, NOT_FOUND = 500, NOT_READY = 600, ILLEGAL_ADDRESS = 700, CAPTURE_UNSUPPORTED = 900 };

static long env(const char *name, long otherwise)
{
	const char *s = getenv(name);
	return s != NULL && *s != 0 ? atol(s) : otherwise;
}

static void say(const char *format, ...)
{
	const char *path = getenv("FAKECUDA_LOG");
	FILE *f = path != NULL && *path != 0 ? fopen(path, "a") : NULL;
	if (f == NULL)
		return;
	va_list args;
	va_start(args, format);
	vfprintf(f, format, args);
	va_end(args);
	fputc('\n', f);
	fclose(f);
}

/* fail is the code FAKECUDA_FAIL asks of a call, 0 for the others. */
static int fail(const char *call)
{
	const char *s = getenv("FAKECUDA_FAIL");
	size_t n = strlen(call);
	return s != NULL && strncmp(s, call, n) == 0 && s[n] == '=' ? atoi(s + n + 1) : 0;
}

/* ---- devices and contexts ---- */

struct context { int retained, spoiled; };
static struct context contexts[8];
static __thread struct context *current;

/* BEGIN: the call may be told to fail; IN_CONTEXT: it needs a healthy context. */
#define BEGIN do { int e_ = fail(__func__); if (e_ != 0) return e_; } while (0)
#define IN_CONTEXT do { BEGIN; if (current == NULL || !current->retained) return INVALID_CONTEXT; \
	if (current->spoiled) return current->spoiled; } while (0)

API cuInit(unsigned flags) { return env("FAKECUDA_INIT", 0); }
API cuDriverGetVersion(int *v) { *v = env("FAKECUDA_VERSION", 13000); return OK; }
API cuDeviceGetCount(int *n) { BEGIN; *n = env("FAKECUDA_DEVICES", 2); return OK; }
API cuDeviceGet(int *d, int i) { BEGIN; *d = i; return i < env("FAKECUDA_DEVICES", 2) ? OK : INVALID_DEVICE; }
API cuDeviceGetName(char *s, int n, int d) { BEGIN; snprintf(s, n, "Fake H200 #%d", d); return OK; }
API cuDeviceTotalMem_v2(size_t *n, int d) { BEGIN; *n = env("FAKECUDA_MEMORY", 1 << 30); return OK; }
API cuDeviceGetAttribute(int *v, int a, int d)
{
	BEGIN;
	(void)d;
	static const int facts[][2] = {{13, 1980000}, {16, 132}, {32, 1}, {36, 3201000}, {37, 6144}, {38, 50 << 20},
		{39, 2048}, {76, 0}, {81, 233472}, {82, 65536}, {97, 232448}};
	if (a == 75)
		return *v = env("FAKECUDA_MAJOR", 9), OK;
	for (size_t i = 0; i < sizeof facts / sizeof *facts; i++)
		if (facts[i][0] == a)
			return *v = facts[i][1], OK;
	return INVALID_VALUE;
}
API cuDevicePrimaryCtxRetain(struct context **c, int d) { BEGIN; *c = &contexts[d]; contexts[d].retained++; return OK; }
static void forget(struct context *c);
API cuDevicePrimaryCtxRelease_v2(int d) { BEGIN; say("release %d", d); if (--contexts[d].retained == 0) forget(&contexts[d]); return OK; }
API cuCtxSetCurrent(struct context *c) { BEGIN; current = c; return OK; }
API cuGetErrorName(int e, const char **s)
{
	switch (e) {
	case INVALID_VALUE: *s = "CUDA_ERROR_INVALID_VALUE"; return OK;
	case OUT_OF_MEMORY: *s = "CUDA_ERROR_OUT_OF_MEMORY"; return OK;
	case 100: *s = "CUDA_ERROR_NO_DEVICE"; return OK;
	case INVALID_PTX: *s = "CUDA_ERROR_INVALID_PTX"; return OK;
	case 302: *s = "CUDA_ERROR_SHARED_OBJECT_SYMBOL_NOT_FOUND"; return OK;
	case NOT_READY: *s = "CUDA_ERROR_NOT_READY"; return OK;
	case ILLEGAL_ADDRESS: *s = "CUDA_ERROR_ILLEGAL_ADDRESS"; return OK;
	case 999: *s = "CUDA_ERROR_UNKNOWN"; return OK;
	default: return INVALID_VALUE;
	}
}
API cuGetErrorString(int e, const char **s)
{
	switch (e) {
	case OUT_OF_MEMORY: *s = "out of memory"; return OK;
	case ILLEGAL_ADDRESS: *s = "an illegal memory access was encountered"; return OK;
	default: *s = "fake driver"; return OK;
	}
}

/* ---- memory ---- */

struct range { uintptr_t at; size_t n; int pinned; struct context *context; struct range *next; };
static struct range *ranges;
static size_t allocated;

static struct range *find(uintptr_t at, size_t n, int pinned)
{
	for (struct range *r = ranges; r != NULL; r = r->next)
		if (r->pinned == pinned && at >= r->at && at + n <= r->at + r->n)
			return r;
	return NULL;
}

static void *reserve(size_t n, int pinned)
{
	void *p = aligned_alloc(512, (n + 511) / 512 * 512);
	struct range *r = malloc(sizeof *r);
	memset(p, 0xAB, n);
	*r = (struct range){(uintptr_t)p, n, pinned, current, ranges};
	ranges = r;
	return p;
}

static int drop(uintptr_t at, int pinned)
{
	for (struct range **r = &ranges; *r != NULL; r = &(*r)->next)
		if ((*r)->at == at && (*r)->pinned == pinned) {
			struct range *gone = *r;
			*r = gone->next;
			if (!pinned)
				allocated -= gone->n;
			free((void *)gone->at);
			free(gone);
			return OK;
		}
	return INVALID_VALUE;
}

static void drain_all(void);

API cuMemGetInfo_v2(size_t *free_, size_t *total) { IN_CONTEXT; *total = env("FAKECUDA_MEMORY", 1 << 30); *free_ = *total - allocated; return OK; }
API cuMemAlloc_v2(ptr *p, size_t n)
{
	IN_CONTEXT;
	say("alloc %zu", n);
	if (allocated + n > (size_t)env("FAKECUDA_MEMORY", 1 << 30))
		return OUT_OF_MEMORY;
	allocated += n;
	*p = (uintptr_t)reserve(n, 0);
	return OK;
}
API cuMemFree_v2(ptr p) { IN_CONTEXT; drain_all(); struct range *r = find(p, 0, 0); say("free %zu", r == NULL ? 0 : r->n); return drop(p, 0); }
API cuMemHostAlloc(void **p, size_t n, unsigned flags) { IN_CONTEXT; say("pin %zu", n); *p = reserve(n, 1); return OK; }
API cuMemFreeHost(void *p) { IN_CONTEXT; say("unpin"); return drop((uintptr_t)p, 1); }

/* ---- streams, events and the work in them ---- */

enum kind { KERNEL, COPY, SET, RECORD, WAIT };
struct op {
	enum kind kind;
	struct kernel *kernel;
	unsigned grid, block;
	unsigned char args[576];
	void *dst;
	const void *src;
	size_t n;
	struct event *event;
	long generation;
	struct op *next;
};
struct queue { struct op *first, **last; };
struct stream { int id; struct context *context; struct queue work; struct queue *capture; struct stream *next; };
struct event { int id; struct stream *stream; long recorded, passed, microseconds; };
static struct stream *streams;
static int stream_ids, event_ids;
static long clock_microseconds;

static void push(struct queue *q, struct op op)
{
	struct op *o = malloc(sizeof *o);
	*o = op;
	o->next = NULL;
	*q->last = o;
	q->last = &o->next;
}

/* enqueue checks what the driver checks when work is handed over. */
static int enqueue(struct stream *s, struct op op)
{
	if (s == NULL || s->context != current)
		return INVALID_HANDLE;
	push(s->capture != NULL ? s->capture : &s->work, op);
	return OK;
}

static void run_kernel(struct op *o);

/* drain runs the work of s until event e (or all of it, without one) has passed. */
static void drain(struct stream *s, struct event *e, long generation)
{
	while (s->work.first != NULL && (e == NULL || e->passed < generation)) {
		struct op *o = s->work.first;
		if (o->kind == WAIT && o->event->passed < o->generation)
			drain(o->event->stream, o->event, o->generation);
		s->work.first = o->next;
		if (o->next == NULL)
			s->work.last = &s->work.first;
		if (!s->context->spoiled)
			switch (o->kind) {
			case KERNEL: clock_microseconds += 1000; run_kernel(o); break;
			case COPY: clock_microseconds += 250; memcpy(o->dst, o->src, o->n); break;
			case SET: memset(o->dst, 0, o->n); break;
			case RECORD: o->event->passed = o->generation; o->event->microseconds = clock_microseconds; break;
			case WAIT: break;
			}
		free(o);
	}
}

static void drain_all(void)
{
	for (struct stream *s = streams; s != NULL; s = s->next)
		drain(s, NULL, 0);
}

/* forget ends a context: its work and its memory go with it. */
static void forget(struct context *c)
{
	for (struct stream *s = streams; s != NULL; s = s->next)
		if (s->context == c)
			s->work = (struct queue){NULL, &s->work.first};
	for (struct range *r = ranges, *next; r != NULL; r = next) {
		next = r->next;
		if (r->context == c)
			drop(r->at, r->pinned);
	}
	c->spoiled = 0;
}

#define NOT_CAPTURING(s) do { if ((s) != NULL && (s)->capture != NULL) return CAPTURE_UNSUPPORTED; } while (0)

API cuStreamCreate(struct stream **s, unsigned flags)
{
	IN_CONTEXT;
	*s = calloc(1, sizeof **s);
	**s = (struct stream){.id = ++stream_ids, .context = current, .next = streams};
	(*s)->work.last = &(*s)->work.first;
	streams = *s;
	say("stream %d flags %u", (*s)->id, flags);
	return OK;
}
API cuStreamDestroy_v2(struct stream *s)
{
	IN_CONTEXT;
	drain(s, NULL, 0);
	for (struct stream **p = &streams; *p != NULL; p = &(*p)->next)
		if (*p == s) {
			*p = s->next;
			say("destroy stream %d", s->id);
			free(s);
			return OK;
		}
	return INVALID_HANDLE;
}
API cuStreamSynchronize(struct stream *s) { IN_CONTEXT; NOT_CAPTURING(s); drain(s, NULL, 0); return current->spoiled; }
API cuStreamQuery(struct stream *s) { IN_CONTEXT; int busy = s->work.first != NULL; drain(s, NULL, 0); return busy ? NOT_READY : current->spoiled; }
API cuCtxSynchronize(void) { IN_CONTEXT; drain_all(); return current->spoiled; }
API cuEventCreate(struct event **e, unsigned flags) { IN_CONTEXT; *e = calloc(1, sizeof **e); (*e)->id = ++event_ids; return OK; }
API cuEventDestroy_v2(struct event *e) { IN_CONTEXT; if (e->stream != NULL) drain(e->stream, e, e->recorded); free(e); return OK; }
API cuEventRecord(struct event *e, struct stream *s)
{
	IN_CONTEXT;
	e->stream = s;
	return enqueue(s, (struct op){.kind = RECORD, .event = e, .generation = ++e->recorded});
}
API cuStreamWaitEvent(struct stream *s, struct event *e, unsigned flags)
{
	IN_CONTEXT;
	return enqueue(s, (struct op){.kind = WAIT, .event = e, .generation = e->recorded});
}
API cuEventSynchronize(struct event *e) { IN_CONTEXT; if (e->stream != NULL) drain(e->stream, e, e->recorded); return current->spoiled; }
API cuEventElapsedTime(float *ms, struct event *a, struct event *b)
{
	IN_CONTEXT;
	if (a->passed < a->recorded || b->passed < b->recorded)
		return NOT_READY;
	*ms = (b->microseconds - a->microseconds) / 1000.f;
	return OK;
}

API cuMemsetD32Async(ptr p, unsigned v, size_t n, struct stream *s)
{
	IN_CONTEXT;
	say("memset %zu stream %d", 4 * n, s == NULL ? 0 : s->id);
	if (v != 0 || find(p, 4 * n, 0) == NULL)
		return INVALID_VALUE;
	return enqueue(s, (struct op){.kind = SET, .dst = (void *)(uintptr_t)p, .n = 4 * n});
}
static int copy_on(struct stream *s, const char *how, uintptr_t dst, int dst_pinned, uintptr_t src, int src_pinned, size_t n)
{
	say("copy%s %zu stream %d", how, n, s->id);
	if (find(dst, n, dst_pinned) == NULL || find(src, n, src_pinned) == NULL)
		return INVALID_VALUE;
	return enqueue(s, (struct op){.kind = COPY, .dst = (void *)dst, .src = (const void *)src, .n = n});
}
API cuMemcpyHtoDAsync_v2(ptr dst, const void *src, size_t n, struct stream *s) { IN_CONTEXT; return copy_on(s, " in", dst, 0, (uintptr_t)src, 1, n); }
API cuMemcpyDtoHAsync_v2(void *dst, ptr src, size_t n, struct stream *s) { IN_CONTEXT; return copy_on(s, " out", (uintptr_t)dst, 1, src, 0, n); }
API cuMemcpyDtoDAsync_v2(ptr dst, ptr src, size_t n, struct stream *s) { IN_CONTEXT; return copy_on(s, "", dst, 0, src, 0, n); }

/* ---- graphs ---- */

struct graph { struct queue work; };

API cuStreamBeginCapture_v2(struct stream *s, int mode)
{
	IN_CONTEXT;
	struct graph *g = calloc(1, sizeof *g);
	g->work.last = &g->work.first;
	s->capture = &g->work;
	say("capture stream %d mode %d", s->id, mode);
	return OK;
}
API cuStreamEndCapture(struct stream *s, struct graph **g)
{
	IN_CONTEXT;
	if (s->capture == NULL)
		return INVALID_VALUE;
	*g = (struct graph *)s->capture;
	s->capture = NULL;
	say("end capture");
	return OK;
}
static struct graph *copy(struct graph *g)
{
	struct graph *c = calloc(1, sizeof *c);
	c->work.last = &c->work.first;
	for (struct op *o = g->work.first; o != NULL; o = o->next)
		push(&c->work, *o);
	return c;
}
API cuGraphInstantiateWithFlags(struct graph **x, struct graph *g, unsigned long long flags) { IN_CONTEXT; *x = copy(g); return OK; }
API cuGraphLaunch(struct graph *x, struct stream *s)
{
	IN_CONTEXT;
	say("graph launch stream %d", s->id);
	for (struct op *o = x->work.first; o != NULL; o = o->next)
		push(&s->work, *o);
	return OK;
}
API cuGraphDestroy(struct graph *g) { IN_CONTEXT; say("destroy graph"); free(g); return OK; }
API cuGraphExecDestroy(struct graph *x) { IN_CONTEXT; say("destroy executable graph"); free(x); return OK; }

/* ---- modules and kernels ---- */

struct kernel { const char *name; int params, size[5]; void (*run)(struct op *, unsigned char **); int limit; };

static void run_axpy(struct op *o, unsigned char **p) /* y[i] += a*x[i] for i < n */
{
	float *y = *(float **)p[0], *x = *(float **)p[1], a = *(float *)p[2];
	int n = *(int *)p[3];
	for (int i = 0; i < n && i < (int)(o->grid * o->block); i++)
		y[i] += a * x[i];
}
static void run_wide(struct op *o, unsigned char **p) /* out[0:128] = v */
{
	(void)o;
	memcpy(*(void **)p[0], p[1], 128);
}
static void run_fault(struct op *o, unsigned char **p) { (void)o; (void)p; contexts[0].spoiled = ILLEGAL_ADDRESS; }
static void run_nothing(struct op *o, unsigned char **p) { (void)o; (void)p; }

static struct kernel kernels[] = {
	{"axpy", 4, {8, 8, 4, 4}, run_axpy, 0},
	{"wide", 2, {8, 128}, run_wide, 0},
	{"fault", 0, {0}, run_fault, 0},
	{"tiles", 1, {8}, run_nothing, 0},
	{"tick", 0, {0}, run_nothing, 0},
	{"gemm_bf16_nt_256", 5, {128, 128, 128, 128, 40}, run_nothing, 0}, /* of kernels/gemm */
};

static void run_kernel(struct op *o)
{
	unsigned char *p[5] = {0}, *at = o->args;
	for (int i = 0; i < o->kernel->params; at += o->kernel->size[i++])
		p[i] = at;
	o->kernel->run(o, p);
}

API cuModuleLoadDataEx(char **m, const void *image, unsigned n, int *options, void **values)
{
	IN_CONTEXT;
	char *log = NULL;
	size_t size = 0;
	for (unsigned i = 0; i < n; i++) {
		if (options[i] == 5)
			log = values[i];
		if (options[i] == 6)
			size = (size_t)values[i];
	}
	if (strstr(image, "broken.instruction") != NULL) {
		if (log != NULL)
			snprintf(log, size, "ptxas application ptx input, line 7; fatal   : Parsing error near '.instruction': syntax error");
		return INVALID_PTX;
	}
	say("load %zu bytes", strlen(image));
	*m = strdup(image);
	return OK;
}
API cuModuleUnload(char *m) { IN_CONTEXT; say("unload"); free(m); return OK; }
API cuModuleGetFunction(struct kernel **f, char *m, const char *name)
{
	IN_CONTEXT;
	for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++)
		if (strcmp(kernels[i].name, name) == 0 && strstr(m, name) != NULL) {
			*f = &kernels[i];
			(*f)->limit = 48 << 10;
			return OK;
		}
	return NOT_FOUND;
}
API cuFuncGetAttribute(int *v, int a, struct kernel *f)
{
	IN_CONTEXT;
	switch (a) {
	case 0: *v = f->params == 5 ? 384 : 256; return OK;
	case 1: *v = 1024; return OK;
	case 3: *v = 0; return OK;
	case 4: *v = 40; return OK;
	case 8: *v = f->limit; return OK;
	}
	return INVALID_VALUE;
}
API cuFuncSetAttribute(struct kernel *f, int a, int v)
{
	IN_CONTEXT;
	say("attribute %d of %s = %d", a, f->name, v);
	if (a != 8 || v > 232448 - 1024)
		return INVALID_VALUE;
	f->limit = v;
	return OK;
}
API cuLaunchKernel(struct kernel *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
	unsigned shared, struct stream *s, void **params, void **extra)
{
	IN_CONTEXT;
	if (gx == 0 || gy == 0 || gz == 0 || gy > 65535 || gz > 65535 || (int)shared > f->limit || extra != NULL)
		return INVALID_VALUE;
	struct op op = {.kind = KERNEL, .kernel = f, .grid = gx, .block = bx};
	char hex[1300] = "";
	unsigned char *at = op.args;
	for (int i = 0; i < f->params; at += f->size[i++]) {
		memcpy(at, params[i], f->size[i]);
		strcat(hex, i == 0 ? "" : " ");
		for (int j = 0; j < f->size[i] && getenv("FAKECUDA_LOG") != NULL; j++)
			sprintf(hex + strlen(hex), "%02x", at[j]);
	}
	say("launch %s grid %u,%u,%u block %u,%u,%u shared %u stream %d args [%s]", f->name, gx, gy, gz, bx, by, bz, shared, s == NULL ? 0 : s->id, hex);
	return enqueue(s, op);
}

/* ---- tensor maps ---- */

#ifndef NO_TENSORMAP
API cuTensorMapEncodeTiled(void *map, int type, unsigned rank, void *addr, const uint64_t *dim, const uint64_t *stride,
	const uint32_t *box, const uint32_t *element, int interleave, int swizzle, int promotion, int fill)
{
	IN_CONTEXT;
	if ((uintptr_t)map % 64 != 0)
		return INVALID_VALUE;
	char text[512];
	int n = snprintf(text, sizeof text, "tensor map type %d rank %u addr %p", type, rank, addr);
	for (unsigned i = 0; i < rank; i++)
		n += snprintf(text + n, sizeof text - n, " [%llu %llu %u %u]", (unsigned long long)dim[i],
			i + 1 < rank ? (unsigned long long)stride[i] : 0, box[i], element[i]);
	say("%s interleave %d swizzle %d promotion %d fill %d", text, interleave, swizzle, promotion, fill);
	for (int i = 0; i < 128; i++)
		((unsigned char *)map)[i] = i;
	return OK;
}
#endif
