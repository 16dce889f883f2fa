include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# Headers alone fit every machine. A compiled library does not, and neither do the files that name it.
set(eigennorm_machine_dir ${CMAKE_INSTALL_DATADIR})
set(eigennorm_machine ARCH_INDEPENDENT)
if(EIGENNORM_BUILD_LIBRARY)
  set(eigennorm_machine_dir ${CMAKE_INSTALL_LIBDIR})
  set(eigennorm_machine "")
endif()
set(eigennorm_package_dir ${eigennorm_machine_dir}/cmake/eigennorm)
set(eigennorm_pkgconfig_dir ${eigennorm_machine_dir}/pkgconfig)

# A component of its own: a project that has this one inside may leave it out, and a Debian package takes it without the
# license, which has another place there.
set(CMAKE_INSTALL_DEFAULT_COMPONENT_NAME eigennorm)

install(DIRECTORY include/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
set(eigennorm_targets eigennorm)
if(EIGENNORM_BUILD_LIBRARY)
  list(APPEND eigennorm_targets eigennorm_compiled)
endif()
install(TARGETS ${eigennorm_targets} EXPORT eigennorm-targets INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT eigennorm-targets NAMESPACE eigennorm:: DESTINATION ${eigennorm_package_dir})
# In files of their own, which are read where nlohmann_json is, and MPI.
install(TARGETS eigennorm_safetensors EXPORT eigennorm-safetensors-targets)
install(EXPORT eigennorm-safetensors-targets NAMESPACE eigennorm:: DESTINATION ${eigennorm_package_dir})
install(TARGETS eigennorm_mpi EXPORT eigennorm-mpi-targets)
install(EXPORT eigennorm-mpi-targets NAMESPACE eigennorm:: DESTINATION ${eigennorm_package_dir})

configure_package_config_file(cmake/eigennorm-config.cmake.in eigennorm-config.cmake
  INSTALL_DESTINATION ${eigennorm_package_dir})
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/eigennorm-config-version.cmake
  COMPATIBILITY SameMinorVersion
  ${eigennorm_machine})
install(FILES
  ${CMAKE_CURRENT_BINARY_DIR}/eigennorm-config.cmake
  ${CMAKE_CURRENT_BINARY_DIR}/eigennorm-config-version.cmake
  DESTINATION ${eigennorm_package_dir})

# The file for pkg-config says where the headers lie from where it lies itself, so what is installed may be moved.
cmake_path(APPEND eigennorm_pkgconfig_from ${CMAKE_INSTALL_PREFIX} ${eigennorm_pkgconfig_dir})
set(eigennorm_pkgconfig_to_prefix ${CMAKE_INSTALL_PREFIX})
cmake_path(RELATIVE_PATH eigennorm_pkgconfig_to_prefix BASE_DIRECTORY ${eigennorm_pkgconfig_from})
set(eigennorm_pkgconfig_includedir "\${prefix}")
cmake_path(APPEND eigennorm_pkgconfig_includedir ${CMAKE_INSTALL_INCLUDEDIR})  # an absolute folder stays as it is
configure_file(cmake/eigennorm.pc.in eigennorm.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/eigennorm.pc DESTINATION ${eigennorm_pkgconfig_dir})
if(EIGENNORM_BUILD_LIBRARY)
  set(eigennorm_pkgconfig_libdir "\${prefix}")
  cmake_path(APPEND eigennorm_pkgconfig_libdir ${CMAKE_INSTALL_LIBDIR})
  configure_file(cmake/eigennorm-compiled.pc.in eigennorm-compiled.pc @ONLY)
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/eigennorm-compiled.pc DESTINATION ${eigennorm_pkgconfig_dir})
endif()

install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DATADIR}/licenses/eigennorm COMPONENT eigennorm_license)
