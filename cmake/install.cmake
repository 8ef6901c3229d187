# What `cmake --install build --prefix PREFIX` copies where. Everything finds
# everything else by relative paths, so the prefix can also be chosen then, and
# the tree can be moved.
include(CMakePackageConfigHelpers)

# An instrumented build is for tests; nobody is to install it by mistake.
if(MAYFLY_SANITIZE OR MAYFLY_COVERAGE OR MAYFLY_PREBUILT)
    return()
endif()

set(MAYFLY_INSTALL_CMAKE ${CMAKE_INSTALL_LIBDIR}/cmake/mayfly)
set(MAYFLY_INSTALL_PKGCONFIG ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/mayfly
    DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")

set(exported mayfly mayfly_static)
foreach(guest mayfly_guest mayfly_guest_bare)
    if(TARGET ${guest})
        string(REPLACE "mayfly_" "" name ${guest})
        set_target_properties(${guest} PROPERTIES EXPORT_NAME ${name})
        target_include_directories(${guest} INTERFACE
            $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
        list(APPEND exported ${guest})
    endif()
endforeach()
install(TARGETS ${exported} EXPORT mayflyTargets
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
if(TARGET mayfly_soft)
    install(TARGETS mayfly_soft LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/mayfly)
endif()

if(TARGET mayfly_cli)
    if(MAYFLY_COMMAND_SHARED)
        # The command finds the library of its own prefix.
        file(RELATIVE_PATH bin_to_lib
            ${CMAKE_INSTALL_FULL_BINDIR} ${CMAKE_INSTALL_FULL_LIBDIR})
        # The same run path in the build tree, where the library stands beside the command:
        # CMake would pad another one to this length with empty entries, and an empty entry
        # means the current directory.
        set_target_properties(mayfly_cli PROPERTIES
            INSTALL_RPATH "$ORIGIN/${bin_to_lib};$ORIGIN"
            BUILD_WITH_INSTALL_RPATH ON)
    endif()
    install(TARGETS mayfly_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
    # Called by this name it is `mayfly vm`.
    file(CREATE_LINK mayfly ${MAYFLY_OUTPUT}/myvmm SYMBOLIC)
    install(FILES ${MAYFLY_OUTPUT}/myvmm DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()

file(GLOB pages CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/docs/man/*.[1-8])
foreach(page ${pages})
    get_filename_component(section ${page} LAST_EXT)
    string(SUBSTRING ${section} 1 1 section)
    install(FILES ${page} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section})
endforeach()

# CMake: find_package(mayfly), then mayfly::mayfly, mayfly::mayfly_static,
# mayfly::guest, mayfly::guest_bare.
install(EXPORT mayflyTargets NAMESPACE mayfly:: DESTINATION ${MAYFLY_INSTALL_CMAKE})
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/mayflyConfig.cmake.in
    ${PROJECT_BINARY_DIR}/package/mayflyConfig.cmake
    INSTALL_DESTINATION ${MAYFLY_INSTALL_CMAKE})
# Before version 1.0 a minor version may change the API.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/package/mayflyConfigVersion.cmake
    COMPATIBILITY SameMinorVersion)
install(FILES
    ${PROJECT_BINARY_DIR}/package/mayflyConfig.cmake
    ${PROJECT_BINARY_DIR}/package/mayflyConfigVersion.cmake
    DESTINATION ${MAYFLY_INSTALL_CMAKE})

# pkg-config: mayfly for hosts, mayfly-guest and mayfly-guest-bare for guests.
file(RELATIVE_PATH MAYFLY_PC_PREFIX
    ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
file(RELATIVE_PATH MAYFLY_PC_LIBDIR ${CMAKE_INSTALL_PREFIX} ${CMAKE_INSTALL_FULL_LIBDIR})
file(RELATIVE_PATH MAYFLY_PC_INCLUDEDIR ${CMAKE_INSTALL_PREFIX} ${CMAKE_INSTALL_FULL_INCLUDEDIR})
foreach(package mayfly mayfly-guest mayfly-guest-bare)
    configure_file(${PROJECT_SOURCE_DIR}/cmake/${package}.pc.in
        ${PROJECT_BINARY_DIR}/package/${package}.pc @ONLY)
    install(FILES ${PROJECT_BINARY_DIR}/package/${package}.pc
        DESTINATION ${MAYFLY_INSTALL_PKGCONFIG})
endforeach()
