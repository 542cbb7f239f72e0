// Modules and kernels. The "code object" that the runtime compiler made is a host shared library.
#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <string>

#include "api.h"
#include "counters.h"
#include "devices.h"
#include "fibers.h"
#include "settings.h"

using cupy_on_cpu::KernelDescription;

// Static and dynamic shared memory together may take 48 KiB on a GPU unless the program asks for more, which CuPy's ROCm
// build cannot. Only the dynamic part is known here.
constexpr std::size_t max_dynamic_shared = 48 << 10;
alignas(16) char cupy_on_cpu_dynamic_shared[max_dynamic_shared];  // declared in launch.h

namespace {

struct Module {
    void* library;
    Device& device;  // that was current at loading; its kernels run only there
};

struct Function {
    Module* module;
    std::string name;
    const KernelDescription* description;
};

struct Grid {
    dim3 blocks, threads;
    std::size_t dynamic_shared;

    bool is_legal() const {
        return blocks.x && blocks.y && blocks.z && threads.x && threads.y && threads.z && blocks.y <= 65535 &&
               blocks.z <= 65535 && std::size_t(threads.x) * threads.y * threads.z <= 1024 &&
               dynamic_shared <= max_dynamic_shared;
    }
    std::size_t block_count() const { return std::size_t(blocks.x) * blocks.y * blocks.z; }
};

// A launch keeps its own copy of the arguments: the caller's are gone when a late stream gets there, and a graph runs
// the same launch again and again.
class Arguments {
  public:
    Arguments(const KernelDescription& description, void** values) {
        constexpr std::size_t alignment = 16;
        std::size_t bytes = 0;
        for (std::size_t i = 0; i < description.parameter_count; ++i) {
            offsets_.push_back(bytes);
            bytes += (description.parameter_sizes[i] + alignment - 1) / alignment * alignment;
        }
        storage_.resize(bytes / alignment + 1);
        for (std::size_t i = 0; i < description.parameter_count; ++i)
            memcpy(at(i), values[i], description.parameter_sizes[i]);
    }
    std::vector<void*> pointers() {
        std::vector<void*> result;
        for (std::size_t i = 0; i < offsets_.size(); ++i) result.push_back(at(i));
        return result;
    }

  private:
    struct alignas(16) Unit { char bytes[16]; };
    void* at(std::size_t i) { return (char*)storage_.data() + offsets_[i]; }

    std::vector<std::size_t> offsets_;
    std::vector<Unit> storage_;
};

void run_block(const Function& function, void** arguments) {
    const KernelDescription& kernel = *function.description;
    const bool reverse = settings().reverse;
    const unsigned threads = blockDim.x * blockDim.y * blockDim.z;
    if (kernel.has_barriers) run_block_of_fibers(kernel, arguments, reverse, function.name);
    else kernel.run_block(arguments, reverse ? threads - 1 : 0, reverse ? -1 : 1);
}

void run_grid(const Function& function, const Grid& grid, void** arguments) {
    gridDim = grid.blocks;
    blockDim = grid.threads;
    const std::size_t count = grid.block_count();
    for (std::size_t i = 0; i < count; ++i) {
        const std::size_t number = settings().reverse ? count - 1 - i : i;
        blockIdx.x = number % gridDim.x;
        blockIdx.y = number / gridDim.x % gridDim.y;
        blockIdx.z = number / gridDim.x / gridDim.y;
        memset(cupy_on_cpu_dynamic_shared, 0xFF, grid.dynamic_shared);  // shared memory starts as garbage
        run_block(function, arguments);
    }
}

// dlopen wants a file; the name is gone as soon as it is open.
void* open_library(const void* image, std::size_t bytes) {
    char path[] = "/tmp/fakehip_module_XXXXXX";
    const int file = mkstemp(path);
    if (file < 0) return nullptr;
    const bool written = write(file, image, bytes) == ssize_t(bytes);
    close(file);
    void* library = written ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : nullptr;
    if (!library) fprintf(stderr, "fakehip: cannot load a kernel: %s\n", written ? dlerror() : "no room in /tmp");
    unlink(path);
    return library;
}

}  // namespace

FAKEHIP_API Error hipModuleLoadData(Module** module, const void* image) {
    Lock lock;
    const auto header = (const Elf64_Ehdr*)image;
    if (memcmp(header->e_ident, ELFMAG, SELFMAG)) return report(invalid_image);
    void* library = open_library(image, header->e_shoff + std::size_t(header->e_shnum) * header->e_shentsize);
    if (!library) return report(invalid_image);
    *module = new Module{library, current_device()};
    return success;
}

// The library stays: a late stream or a graph may still run its kernels.
FAKEHIP_API Error hipModuleUnload(Module*) { return success; }

FAKEHIP_API Error hipModuleGetFunction(Function** function, Module* module, const char* name) {
    Lock lock;
    const std::string exported_name = std::string("cupy_on_cpu_kernel_") + name;
    const auto description = (const KernelDescription*)dlsym(module->library, exported_name.c_str());
    if (!description) {
        fprintf(stderr, "fakehip: no kernel %s (extern \"C\" __global__ void %s) in the module\n", name, name);
        return report(not_found);
    }
    *function = new Function{module, name, description};
    return success;
}

FAKEHIP_API Error hipModuleGetGlobal(void** address, std::size_t* bytes, Module* module, const char* name) {
    Lock lock;
    *address = dlsym(module->library, name);
    Dl_info info;
    const ElfW(Sym)* symbol = nullptr;
    if (!*address || !dladdr1(*address, &info, (void**)&symbol, RTLD_DL_SYMENT) || !symbol) return report(not_found);
    if (bytes) *bytes = symbol->st_size;
    register_module_variable(*address, symbol->st_size, module->device.number);
    return success;
}

FAKEHIP_API Error hipFuncGetAttribute(int* value, int, Function*) { return *value = 64, success; }

FAKEHIP_API Error hipModuleLaunchKernel(Function* function, unsigned blocks_x, unsigned blocks_y, unsigned blocks_z,
                                        unsigned threads_x, unsigned threads_y, unsigned threads_z, unsigned shared,
                                        void* handle, void** values, void**) {
    Lock lock;
    if (unusable()) return report(unusable());
    const auto stream = find_stream(handle);
    Device& device = current_device();
    if (!stream || &stream->device != &device || &function->module->device != &device) return report(invalid_handle);
    const Grid grid{{blocks_x, blocks_y, blocks_z}, {threads_x, threads_y, threads_z}, shared};
    if (!grid.is_legal()) return report(invalid_value);
    ++counters.launches;
    note_launch(function->name);
    log_line("launch %s <<<(%u, %u, %u), (%u, %u, %u)>>> on device %d", function->name.c_str(), blocks_x, blocks_y,
             blocks_z, threads_x, threads_y, threads_z, device.number);
    if (!settings().execute) return success;
    const auto arguments = std::make_shared<Arguments>(*function->description, values);
    stream->submit_work(device.reachable(), [=] { run_grid(*function, grid, arguments->pointers().data()); });
    return success;
}

// ---- kernels that CuPy's wheel carries precompiled for AMD (thrust, cub, random): there is nothing to run them on

FAKEHIP_API void** __hipRegisterFatBinary(const void*) {
    static void* handle;
    return &handle;
}
FAKEHIP_API void __hipUnregisterFatBinary(void**) {}
FAKEHIP_API void __hipRegisterFunction() {}
FAKEHIP_API Error __hipPushCallConfiguration() { return success; }
FAKEHIP_API Error __hipPopCallConfiguration() { return success; }
FAKEHIP_API Error hipLaunchKernel() {
    fputs("fakehip: this CuPy function (sort, random, cub) needs a kernel precompiled for AMD: not available\n", stderr);
    return report(not_supported);
}
