// The runtime compiler: hipRTC is g++.
#include <dlfcn.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

#include "api.h"
#include "counters.h"
#include "settings.h"

namespace fs = std::filesystem;
extern char** environ;

namespace {

enum CompilerResult { compiled = 0, creation_failed = 1, invalid_program = 3, compilation_failed = 6, no_such_name = 8 };

struct NameExpression {  // an instance of a template, which the program wants by name
    std::string expression, exported_name;
};

struct Program {
    std::string source, log, binary;
    std::vector<std::pair<std::string, std::string>> headers;  // name, text
    std::vector<NameExpression> name_expressions;
};

// ---- reading the source

// Comments may speak of kernels and barriers; only code has them.
std::string without_comments(const std::string& source) {
    std::string code;
    for (std::size_t i = 0; i < source.size();) {
        if (source.compare(i, 2, "//") == 0) {
            i = std::min(source.find('\n', i), source.size());
        } else if (source.compare(i, 2, "/*") == 0) {
            const std::size_t end = source.find("*/", i + 2);
            i = end == std::string::npos ? source.size() : end + 2;
            code += ' ';
        } else {
            code += source[i++];
        }
    }
    return code;
}

// The names of kernels with C linkage: extern "C" __global__ void [__launch_bounds__(n)] NAME(, or anywhere behind the
// beginning of a block extern "C" {. Others cannot be found by their plain name on a GPU either.
std::vector<std::string> kernel_names(const std::string& code) {
    static const std::regex word(R"re(extern\s*"C"\s*(\{)?|\b__global__\b|[;{}])re");
    static const std::regex name(R"(^[^;{}]*?\b([A-Za-z_]\w*)\s*\()");
    static const std::regex launch_bounds(R"(__launch_bounds__\s*\([^()]*\))");
    std::vector<std::string> names;
    bool in_c_block = false, after_extern_c = false;
    for (std::sregex_iterator it(code.begin(), code.end(), word), end; it != end; ++it) {
        const std::string found = it->str();
        if (found[0] == 'e') {
            in_c_block |= (*it)[1].matched;
            after_extern_c = true;
        } else if (found[0] != '_') {
            after_extern_c = false;
        } else if (in_c_block || after_extern_c) {
            const std::string declaration = it->suffix().str().substr(0, 400);
            const std::string rest = std::regex_replace(declaration, launch_bounds, " ");
            std::smatch match;
            if (std::regex_search(rest, match, name)) names.push_back(match[1]);
        }
    }
    return names;
}

bool has_barriers(const std::string& code) {
    static const std::regex barrier(R"(__sync(threads|warp)|__shfl|__ballot|__any_sync|__all_sync)");
    return std::regex_search(code, barrier);
}

// `extern __shared__ T name[];` has no meaning in C++: it becomes a pointer to the shim's buffer.
std::string with_dynamic_shared_memory(const std::string& source) {
    static const std::regex declaration(R"(extern\s+__shared__\s+([^;\[\]]+?)\s*\b(\w+)\s*\[\s*\]\s*;)");
    return std::regex_replace(source, declaration, "$1* const $2 = ($1*)cupy_on_cpu_dynamic_shared;");
}

// The kernel's own text, then what the shim needs to run it. CuPy derives the names of cached kernels from the bytes of
// a compiled dummy, so the build's identity in every binary makes a new shim forget old kernels.
std::string translation_unit(const Program& program) {
    const std::string code = without_comments(program.source);
    const char* barriers = has_barriers(code) ? "true" : "false";
    std::ostringstream text;
    text << "#line 1 \"kernel\"\n" << with_dynamic_shared_memory(program.source) << "\n#line 1 \"exports\"\n";
    const auto describe = [&](const std::string& exported_name, const std::string& function) {
        text << "DESCRIBE_KERNEL(" << exported_name << ", " << barriers << ", " << function << ")\n";
    };
    for (const std::string& name : kernel_names(code)) describe(name, name);
    for (const NameExpression& wanted : program.name_expressions) describe(wanted.exported_name, wanted.expression);
    text << "extern \"C\" __attribute__((used)) const char cupy_on_cpu_build[] = \"" FAKEHIP_BUILD_ID "\";\n";
    return text.str();
}

// ---- running g++

const fs::path& installation() {  // the folder above lib/, where include/ is too
    static const fs::path folder = [] {
        Dl_info info;
        dladdr((void*)&installation, &info);
        return fs::canonical(info.dli_fname).parent_path().parent_path();
    }();
    return folder;
}

std::vector<std::string> words(const std::string& text) {
    std::istringstream stream(text);
    return {std::istream_iterator<std::string>(stream), {}};
}

std::string read_file(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

// The header that comes first. Both are precompiled; the longer one also holds the headers with which CuPy's own kernels
// begin. (g++ looks at the macros of the command line and leaves a precompiled header that they would change aside.)
fs::path first_header(const Program& program) {
    const bool generated_by_cupy = program.source.find("#include <cupy/carray.cuh>") != std::string::npos;
    return installation() / "include" / "cupy_on_cpu" / (generated_by_cupy ? "device_with_cupy.h" : "device.h");
}

std::vector<std::string> command_line(const Program& program, const std::vector<std::string>& options,
                                      const fs::path& folder) {
    std::vector<std::string> command = words("g++ " FAKEHIP_KERNEL_FLAGS);
    for (const std::string& flag : words(settings().compiler_flags)) command.push_back(flag);
    for (const std::string& option : options)  // the others are for AMD's compiler
        if (option.rfind("-I", 0) == 0 || option.rfind("-D", 0) == 0) command.push_back(option);
    command.push_back("-I" + (installation() / "include").string());
    command.push_back("-I" + folder.string());
    command.insert(command.end(), {"-include", first_header(program), folder / "kernel.cpp", "-o", folder / "kernel.so",
                                   installation() / "lib" / "libamdhip64.so.7"});
    return command;
}

int run(std::vector<std::string> command, const fs::path& log) {
    std::vector<char*> arguments;
    for (std::string& word : command) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
    pid_t child;
    int status = posix_spawnp(&child, "g++", &actions, nullptr, arguments.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    if (status != 0) return status;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    return status;
}

CompilerResult compile(Program& program, const std::vector<std::string>& options) {
    std::string name = (fs::temp_directory_path() / "fakehip_compile_XXXXXX").string();
    if (!mkdtemp(name.data())) return creation_failed;
    const fs::path folder = name;
    std::ofstream(folder / "kernel.cpp") << translation_unit(program);
    for (const auto& [header, text] : program.headers) {
        fs::create_directories((folder / header).parent_path());
        std::ofstream(folder / header) << text;
    }
    const int status = run(command_line(program, options, folder), folder / "log");
    program.log = read_file(folder / "log");
    if (status == 0) program.binary = read_file(folder / "kernel.so");
    if (settings().keep_sources) fprintf(stderr, "fakehip: kept %s\n", folder.c_str());
    else fs::remove_all(folder);
    return status == 0 ? compiled : compilation_failed;
}

}  // namespace

// ---- the functions of hipRTC

FAKEHIP_API CompilerResult hiprtcVersion(int* major, int* minor) {
    *major = 7;
    *minor = 0;
    return compiled;
}
FAKEHIP_API const char* hiprtcGetErrorString(CompilerResult result) {
    return result == compiled ? "HIPRTC_SUCCESS" : "HIPRTC_ERROR_COMPILATION";
}

FAKEHIP_API CompilerResult hiprtcCreateProgram(Program** program, const char* source, const char*, int headers,
                                               const char** texts, const char** names) {
    *program = new Program;
    (*program)->source = source;
    for (int i = 0; i < headers; ++i) (*program)->headers.emplace_back(names[i], texts[i]);
    return compiled;
}
FAKEHIP_API CompilerResult hiprtcDestroyProgram(Program** program) {
    delete *program;
    *program = nullptr;
    return compiled;
}

// No lock: g++ takes half a second, and another thread may go on meanwhile.
FAKEHIP_API CompilerResult hiprtcCompileProgram(Program* program, int count, const char** options) {
    {
        Lock lock;
        ++counters.compiles;
    }
    return compile(*program, std::vector<std::string>(options, options + count));
}

FAKEHIP_API CompilerResult hiprtcGetCodeSize(Program* program, std::size_t* bytes) {
    *bytes = program->binary.size();
    return compiled;
}
FAKEHIP_API CompilerResult hiprtcGetCode(Program* program, char* code) {
    memcpy(code, program->binary.data(), program->binary.size());
    return compiled;
}
FAKEHIP_API CompilerResult hiprtcGetProgramLogSize(Program* program, std::size_t* bytes) {
    *bytes = program->log.size() + 1;
    return compiled;
}
FAKEHIP_API CompilerResult hiprtcGetProgramLog(Program* program, char* log) {
    memcpy(log, program->log.c_str(), program->log.size() + 1);
    return compiled;
}

FAKEHIP_API CompilerResult hiprtcAddNameExpression(Program* program, const char* expression) {
    program->name_expressions.push_back({expression, "expression_" + std::to_string(program->name_expressions.size())});
    return compiled;
}
FAKEHIP_API CompilerResult hiprtcGetLoweredName(Program* program, const char* expression, const char** name) {
    for (const NameExpression& known : program->name_expressions) {
        if (known.expression != expression) continue;
        *name = known.exported_name.c_str();
        return compiled;
    }
    return no_such_name;
}
