# The interface targets that every target of the project (but no guest) links to:
#
#   mayfly_warnings    what the compiler is to complain about
#   mayfly_instrument  sanitizers, coverage, fuzzing; empty in an ordinary build
#   mayfly_hardening   what makes an error of ours harder to exploit
#   mayfly_flags       all of them, and _GNU_SOURCE

add_library(mayfly_warnings INTERFACE)
target_compile_options(mayfly_warnings INTERFACE
    -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wundef -Wvla)
if(CMAKE_C_COMPILER_ID MATCHES "Clang")
    # How the KVM API's lists are filled: a head, then its entries, in one struct.
    target_compile_options(mayfly_warnings INTERFACE -Wno-gnu-variable-sized-type-not-at-end)
endif()
if(MAYFLY_WERROR)
    target_compile_options(mayfly_warnings INTERFACE -Werror)
endif()

add_library(mayfly_instrument INTERFACE)
if(MAYFLY_SANITIZE)
    target_compile_options(mayfly_instrument INTERFACE
        -fsanitize=${MAYFLY_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
    target_link_options(mayfly_instrument INTERFACE -fsanitize=${MAYFLY_SANITIZE})
endif()
if(MAYFLY_COVERAGE)
    target_compile_options(mayfly_instrument INTERFACE --coverage)
    target_link_options(mayfly_instrument INTERFACE --coverage)
endif()
if(MAYFLY_FUZZ)
    if(NOT CMAKE_C_COMPILER_ID MATCHES "Clang")
        message(FATAL_ERROR "MAYFLY_FUZZ needs clang: cmake -DCMAKE_C_COMPILER=clang")
    endif()
    if(NOT MAYFLY_SANITIZE MATCHES "address")
        message(FATAL_ERROR "MAYFLY_FUZZ needs MAYFLY_SANITIZE=address,undefined, "
            "whose runtime also takes the counters of programs that are no fuzzers")
    endif()
    target_compile_options(mayfly_instrument INTERFACE -fsanitize=fuzzer-no-link)
endif()

add_library(mayfly_hardening INTERFACE)
target_compile_options(mayfly_hardening INTERFACE -fstack-protector-strong)
target_link_options(mayfly_hardening INTERFACE -Wl,-z,relro,-z,now,-z,noexecstack)
if(NOT MAYFLY_SANITIZE AND NOT CMAKE_BUILD_TYPE STREQUAL "Debug")
    # Undefined first, because some distributions define it in the compiler.
    target_compile_options(mayfly_hardening INTERFACE -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
endif()

add_library(mayfly_flags INTERFACE)
target_link_libraries(mayfly_flags INTERFACE mayfly_warnings mayfly_instrument mayfly_hardening)
# The host side is written for Linux: all of libc's interface is wanted everywhere.
target_compile_definitions(mayfly_flags INTERFACE _GNU_SOURCE)
