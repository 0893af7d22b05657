/* shim.h - what the shim says of itself. */
#ifndef DATAFLEX_CUDA_SHIM_H
#define DATAFLEX_CUDA_SHIM_H

/* Why there is no usable driver, or "". */
const char *dataflex_cuda_why(void);

/* The driver library in use, or "". */
const char *dataflex_cuda_path(void);

#endif
