include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(eigennorm_package_dir ${CMAKE_INSTALL_DATADIR}/cmake/eigennorm)

install(DIRECTORY include/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(TARGETS eigennorm EXPORT eigennorm-targets INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT eigennorm-targets NAMESPACE eigennorm:: DESTINATION ${eigennorm_package_dir})

configure_package_config_file(cmake/eigennorm-config.cmake.in eigennorm-config.cmake
  INSTALL_DESTINATION ${eigennorm_package_dir})
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/eigennorm-config-version.cmake
  COMPATIBILITY SameMinorVersion
  ARCH_INDEPENDENT)
install(FILES
  ${CMAKE_CURRENT_BINARY_DIR}/eigennorm-config.cmake
  ${CMAKE_CURRENT_BINARY_DIR}/eigennorm-config-version.cmake
  DESTINATION ${eigennorm_package_dir})
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DATADIR}/licenses/eigennorm)
