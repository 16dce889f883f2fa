# Makes the target Eigen3::Eigen: the one that is there, or an installed one, or a fetched one.

set(eigennorm_eigen_is_installed ON)

if(NOT TARGET Eigen3::Eigen)
  # No version in the call: Eigen 5 would refuse "3.4".
  find_package(Eigen3 CONFIG QUIET)
  if(TARGET Eigen3::Eigen)
    message(STATUS "EigenNorm: using Eigen ${Eigen3_VERSION} in ${Eigen3_DIR}")
  endif()
endif()

if(NOT TARGET Eigen3::Eigen)
  include(cmake/fetch.cmake)
  eigennorm_fetch_headers(Eigen3::Eigen "." Eigen3 https://gitlab.com/libeigen/eigen.git 3.4.0
    "EigenNorm needs Eigen 3.4 or newer"
    "install libeigen3-dev (Debian) or eigen (vcpkg, Homebrew, conan), or set Eigen3_DIR to the folder of Eigen3Config.cmake")
  set(eigennorm_eigen_is_installed OFF)
endif()

if(DEFINED Eigen3_VERSION AND Eigen3_VERSION VERSION_LESS 3.4)
  message(FATAL_ERROR "EigenNorm needs Eigen 3.4 or newer, found ${Eigen3_VERSION} in ${Eigen3_DIR}. "
                      "Install a newer one and set Eigen3_DIR to its CMake folder.")
endif()

# A target that is built here, instead of imported, cannot be named by an installed package.
get_target_property(eigennorm_eigen_is_imported Eigen3::Eigen IMPORTED)
if(NOT eigennorm_eigen_is_imported)
  set(eigennorm_eigen_is_installed OFF)
endif()

if(EIGENNORM_INSTALL AND NOT eigennorm_eigen_is_installed)
  message(STATUS "EigenNorm: Eigen is part of this build and not installed, so the install rules are off")
  set(EIGENNORM_INSTALL OFF)
endif()
