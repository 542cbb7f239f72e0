// CuPy's headers ask for the version of HIP before they choose their ROCm branches. This is ROCm 7.0.
#pragma once
#define HIP_VERSION 70051831
