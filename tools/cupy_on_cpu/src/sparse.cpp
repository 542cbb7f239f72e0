// Of hipSPARSE only the descriptor that each CSR matrix of cupyx has; without routines nobody reads it.
#include "api.h"

FAKEHIP_API int hipsparseCreateMatDescr(void** descriptor) {
    *descriptor = new int(0);
    return 0;
}

FAKEHIP_API int hipsparseDestroyMatDescr(void* descriptor) {
    delete static_cast<int*>(descriptor);
    return 0;
}
