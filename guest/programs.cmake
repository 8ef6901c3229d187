# How guest programs are built: by the compilers that their authors use, with the
# flags written here, and never with the flags of this project's own build.
#
#   mayfly_guest_program(result BUILD build SOURCE file OUTPUT file [FLAGS flag...])
#
# BUILD is musl, gcc, gcc-pie, gcc-lto, clang, bare, g++, g++-pie or
# clang++. Sets `result` to the program, or to "" when its compiler is missing.

find_program(MAYFLY_MUSL_GCC musl-gcc)
find_program(MAYFLY_GUEST_GCC NAMES x86_64-linux-gnu-gcc gcc)
find_program(MAYFLY_GUEST_GXX NAMES x86_64-linux-gnu-g++ g++)
find_program(MAYFLY_GUEST_CLANG NAMES clang clang-20 clang-19 clang-18 clang-17 clang-16 clang-15
    clang-14)
find_program(MAYFLY_GUEST_CLANGXX NAMES clang++ clang++-20 clang++-19 clang++-18 clang++-17
    clang++-16 clang++-15 clang++-14)

# build, the variable with its compiler, and what is between compiler and source
set(MAYFLY_BUILD_musl MAYFLY_MUSL_GCC -static)
set(MAYFLY_BUILD_gcc MAYFLY_GUEST_GCC -static)
set(MAYFLY_BUILD_gcc-pie MAYFLY_GUEST_GCC -static-pie -fPIE)
set(MAYFLY_BUILD_gcc-lto MAYFLY_GUEST_GCC -static -flto -ffunction-sections -fdata-sections
    -Wl,--gc-sections)
set(MAYFLY_BUILD_clang MAYFLY_GUEST_CLANG -static)
set(MAYFLY_BUILD_bare MAYFLY_GUEST_GCC -nostdlib -ffreestanding -fno-stack-protector -fno-pie
    -static -Wl,-z,noseparate-code -Wl,-z,norelro -Wl,--build-id=none)
set(MAYFLY_BUILD_g++ MAYFLY_GUEST_GXX -static)
set(MAYFLY_BUILD_g++-pie MAYFLY_GUEST_GXX -static-pie -fPIE)
set(MAYFLY_BUILD_clang++ MAYFLY_GUEST_CLANGXX -static)

function(mayfly_guest_program result)
    cmake_parse_arguments(PARSE_ARGV 1 P "" "BUILD;SOURCE;OUTPUT" "FLAGS")
    set(${result} "" PARENT_SCOPE)
    list(POP_FRONT MAYFLY_BUILD_${P_BUILD} variable)
    set(compiler "${${variable}}")
    if(NOT MAYFLY_X86_64 OR NOT compiler)
        message(STATUS "Guest ${P_OUTPUT}: not built, because ${variable} is not found")
        return()
    endif()
    set(library mayfly_guest)
    set(more -lm)
    if(P_BUILD STREQUAL "bare")
        set(library mayfly_guest_bare)
        set(more "")
    endif()
    get_filename_component(folder ${P_OUTPUT} DIRECTORY)
    file(MAKE_DIRECTORY ${folder})
    add_custom_command(
        OUTPUT ${P_OUTPUT}
        COMMAND ${compiler} -O2 -g ${P_FLAGS} -I${PROJECT_SOURCE_DIR}/include
            ${MAYFLY_BUILD_${P_BUILD}} ${P_SOURCE} $<TARGET_FILE:${library}> ${more}
            -o ${P_OUTPUT}
        DEPENDS ${P_SOURCE} ${library} ${PROJECT_SOURCE_DIR}/include/mayfly/guest.h
            ${PROJECT_SOURCE_DIR}/include/mayfly/value.h
        COMMENT "Building guest ${P_OUTPUT}"
        VERBATIM)
    set(${result} ${P_OUTPUT} PARENT_SCOPE)
endfunction()
