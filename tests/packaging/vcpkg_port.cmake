# Runs the portfile with stand-ins for vcpkg's functions, and looks at what it installs.

cmake_minimum_required(VERSION 3.21)

# vcpkg.json cannot read version.hpp.
file(READ ${PORT_DIR}/vcpkg.json manifest)
foreach(want IN ITEMS name=eigennorm version=${VERSION} license=MIT)
  string(REGEX MATCH "(.*)=(.*)" ignored ${want})
  string(JSON got GET "${manifest}" ${CMAKE_MATCH_1})
  if(NOT got STREQUAL CMAKE_MATCH_2)
    message(FATAL_ERROR "vcpkg.json should say ${want}, and says ${got}.")
  endif()
endforeach()

set(PORT eigennorm)
set(FEATURES core)
set(CURRENT_PACKAGES_DIR ${WORK}/packages)
file(REMOVE_RECURSE ${WORK})

function(vcpkg_check_features)
  set(FEATURE_OPTIONS -DEIGENNORM_BUILD_LIBRARY=OFF PARENT_SCOPE)
endfunction()
function(vcpkg_cmake_configure)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" SOURCE_PATH OPTIONS)
  execute_process(COMMAND ${CMAKE_COMMAND} -S ${arg_SOURCE_PATH} -B ${WORK}/build -G ${GENERATOR} ${arg_OPTIONS}
    -D CMAKE_CXX_COMPILER=${COMPILER} -D Eigen3_DIR=${EIGEN} -D CMAKE_INSTALL_PREFIX=${CURRENT_PACKAGES_DIR}
    COMMAND_ERROR_IS_FATAL ANY)
endfunction()
function(vcpkg_cmake_install)
  execute_process(COMMAND ${CMAKE_COMMAND} --build ${WORK}/build --target install COMMAND_ERROR_IS_FATAL ANY)
endfunction()
function(vcpkg_cmake_config_fixup)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" CONFIG_PATH "")
  file(RENAME ${CURRENT_PACKAGES_DIR}/${arg_CONFIG_PATH} ${CURRENT_PACKAGES_DIR}/share/${PORT})
endfunction()
function(vcpkg_fixup_pkgconfig)
endfunction()
function(vcpkg_copy_pdbs)
endfunction()
function(vcpkg_install_copyright)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" FILE_LIST "")
  file(INSTALL ${arg_FILE_LIST} DESTINATION ${CURRENT_PACKAGES_DIR}/share/${PORT} RENAME copyright)
endfunction()

include(${PORT_DIR}/portfile.cmake)

if(NOT VCPKG_BUILD_TYPE STREQUAL release)
  message(FATAL_ERROR "Headers alone need one build.")
endif()
foreach(file IN ITEMS
    include/eigennorm/eigennorm.hpp share/eigennorm/eigennorm-config.cmake share/eigennorm/copyright share/eigennorm/usage
    share/pkgconfig/eigennorm.pc)
  if(NOT EXISTS ${CURRENT_PACKAGES_DIR}/${file})
    message(FATAL_ERROR "The port has no ${file}.")
  endif()
endforeach()
