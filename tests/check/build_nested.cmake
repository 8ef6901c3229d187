# The tests asan/build and tsan/build: configure and build the project once more, by
# clang with SANITIZE (and libFuzzer), and take guests and examples from the build
# that runs the tests. TARGETS, separated by spaces, says what to build.
execute_process(
    COMMAND ${CMAKE_COMMAND} -S ${SOURCE} -B ${BINARY} -G ${GENERATOR}
        -D CMAKE_C_COMPILER=${COMPILER} -D CMAKE_BUILD_TYPE=RelWithDebInfo
        -D MAYFLY_SANITIZE=${SANITIZE} -D MAYFLY_FUZZ=${FUZZ}
        -D MAYFLY_WERROR=${WERROR} -D MAYFLY_PREBUILT=${PREBUILT}
    RESULT_VARIABLE status)
if(NOT status EQUAL 0)
    message(FATAL_ERROR "configuring the sanitizer build failed")
endif()
separate_arguments(targets UNIX_COMMAND "${TARGETS}")
execute_process(COMMAND ${CMAKE_COMMAND} --build ${BINARY} --parallel 2 --target ${targets}
    RESULT_VARIABLE status)
if(NOT status EQUAL 0)
    message(FATAL_ERROR "building with the sanitizers failed")
endif()
