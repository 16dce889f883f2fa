# The Debian package libeigennorm-dev, by `cpack -G DEB` in the build folder.

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME eigennorm)
set(CPACK_PACKAGE_DESCRIPTION "\
BatchNorm, MeanOnlyBatchNorm, LayerNorm, InstanceNorm, GroupNorm, RMSNorm and
WeightNorm, forward and backward, for Eigen's matrices and tensors, in C++17.
A result has the same bits on one thread and on many, and on every
instruction set.")

set(CPACK_DEBIAN_PACKAGE_NAME libeigennorm-dev)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "libeigen3-dev (>= 3.4)")
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "nlohmann-json3-dev, mpi-default-dev")
if(NOT EIGENNORM_BUILD_LIBRARY)
  set(CPACK_DEBIAN_PACKAGE_ARCHITECTURE all)
endif()
# The project has no address. Who gives the package to others gives theirs: -D CPACK_DEBIAN_PACKAGE_MAINTAINER=...
if(NOT CPACK_DEBIAN_PACKAGE_MAINTAINER)
  set(CPACK_DEBIAN_PACKAGE_MAINTAINER "EigenNorm developers")
endif()

# Debian wants the license in this file, and no other. Only the package gets it.
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/${CPACK_DEBIAN_PACKAGE_NAME} RENAME copyright
  COMPONENT eigennorm_debian EXCLUDE_FROM_ALL)
set(CPACK_INSTALL_CMAKE_PROJECTS
  ${PROJECT_BINARY_DIR} ${PROJECT_NAME} eigennorm /
  ${PROJECT_BINARY_DIR} ${PROJECT_NAME} eigennorm_debian /)
# With a umask of 002, too, only root may write into the folders.
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
  OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)

include(CPack)
