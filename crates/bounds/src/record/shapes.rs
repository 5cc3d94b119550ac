use crate::program::{ConvShape, PoolShape};

/// The sizes of a convolution as kernels take them.
pub fn conv_shape(conv: &network::Conv) -> ConvShape {
    ConvShape {
        in_channels: conv.in_channels as u32,
        in_height: conv.in_height as u32,
        in_width: conv.in_width as u32,
        out_channels: conv.out_channels as u32,
        out_height: conv.out_height as u32,
        out_width: conv.out_width as u32,
        kernel_height: conv.kernel[0] as u32,
        kernel_width: conv.kernel[1] as u32,
        stride_y: conv.stride[0] as u32,
        stride_x: conv.stride[1] as u32,
        dilation_y: conv.dilation[0] as u32,
        dilation_x: conv.dilation[1] as u32,
        pad_y: conv.pad[0] as u32,
        pad_x: conv.pad[1] as u32,
        groups: conv.groups as u32,
        padding: 0,
    }
}

/// The sizes of a max-pool as kernels take them.
pub fn pool_shape(pool: &network::MaxPool) -> PoolShape {
    PoolShape {
        channels: pool.channels as u32,
        in_height: pool.in_height as u32,
        in_width: pool.in_width as u32,
        out_height: pool.out_height as u32,
        out_width: pool.out_width as u32,
        kernel_height: pool.kernel[0] as u32,
        kernel_width: pool.kernel[1] as u32,
        stride_y: pool.stride[0] as u32,
        stride_x: pool.stride[1] as u32,
        dilation_y: pool.dilation[0] as u32,
        dilation_x: pool.dilation[1] as u32,
        pad_y: pool.pad[0] as u32,
        pad_x: pool.pad[1] as u32,
        padding: [0; 3],
    }
}
