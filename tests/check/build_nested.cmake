# The test asan/build: configures and builds the project once more, by clang with
# both sanitizers and libFuzzer, and takes guests and examples from the build that
# runs the tests.
execute_process(
    COMMAND ${CMAKE_COMMAND} -S ${SOURCE} -B ${BINARY} -G ${GENERATOR}
        -D CMAKE_C_COMPILER=${COMPILER} -D CMAKE_BUILD_TYPE=RelWithDebInfo
        -D MAYFLY_SANITIZE=address,undefined -D MAYFLY_FUZZ=ON
        -D MAYFLY_WERROR=${WERROR} -D MAYFLY_PREBUILT=${PREBUILT}
    RESULT_VARIABLE status)
if(NOT status EQUAL 0)
    message(FATAL_ERROR "configuring the sanitizer build failed")
endif()
execute_process(COMMAND ${CMAKE_COMMAND} --build ${BINARY} --parallel 2
    RESULT_VARIABLE status)
if(NOT status EQUAL 0)
    message(FATAL_ERROR "building with the sanitizers failed")
endif()
